"""CLAP embeddings: from a track's samples to one vector, and what a set of such vectors looks like.

Conventions: audio is mono float32 at 48 kHz, an embedding is float32 of 512 values and unit length.
``windows`` cuts, ``log_mel`` transforms, ``encoder`` embeds (with ``towers`` or ``openvino_tower``),
``pooling`` makes one vector of a track's windows, ``settings`` says which vectors are comparable,
``normalisation`` centres a library, ``statistics`` measures it, ``checkpoints`` finds the weights (with
``published``, ``hub``, ``conversion`` and ``files``) and ``health`` measures whether they were ever trained.

What belongs here: everything between samples and vectors. What does not: decoding (``audio``),
searching (``retrieval``), storing (``warehouse``). Importing this package does not import torch.
"""

from audio_assets.embeddings.checkpoints import DEMO_MARKER, Checkpoint, resolve_checkpoint
from audio_assets.embeddings.encoder import ClapEncoder, TrackVectors
from audio_assets.embeddings.errors import ModelError, ModelMissingError, ModelUnusableError
from audio_assets.embeddings.health import (
    AUDIO_CONE_LIMIT,
    MODEL_ADVICE,
    ModelHealth,
    audio_cone,
    check_model_health,
)
from audio_assets.embeddings.log_mel import FRAMES, MEL_BANDS, to_log_mel
from audio_assets.embeddings.normalisation import MeanAccumulator, centre_and_normalise
from audio_assets.embeddings.pooling import ZERO_NORM_LIMIT, pool_windows
from audio_assets.embeddings.prompts import mean_text
from audio_assets.embeddings.published import DEFAULT_MODEL_ID, DEFAULT_REVISION
from audio_assets.embeddings.settings import BACKENDS, EmbeddingSettings, resolve_precision
from audio_assets.embeddings.statistics import (
    CosineStatistics,
    Hubness,
    MeanDrift,
    SanityMeter,
    SanityRecord,
    hubness,
    mean_drift,
    sample_rows,
    sanity_record,
)
from audio_assets.embeddings.towers import TextTower
from audio_assets.embeddings.windows import (
    EMBEDDING_DIM,
    SAMPLE_RATE_HZ,
    WINDOW_SAMPLES,
    Windowing,
    cut_windows,
)

__all__ = [
    "AUDIO_CONE_LIMIT",
    "BACKENDS",
    "DEFAULT_MODEL_ID",
    "DEFAULT_REVISION",
    "DEMO_MARKER",
    "EMBEDDING_DIM",
    "FRAMES",
    "MEL_BANDS",
    "MODEL_ADVICE",
    "SAMPLE_RATE_HZ",
    "WINDOW_SAMPLES",
    "ZERO_NORM_LIMIT",
    "Checkpoint",
    "ClapEncoder",
    "CosineStatistics",
    "EmbeddingSettings",
    "Hubness",
    "MeanAccumulator",
    "MeanDrift",
    "ModelError",
    "ModelHealth",
    "ModelMissingError",
    "ModelUnusableError",
    "SanityMeter",
    "SanityRecord",
    "TextTower",
    "TrackVectors",
    "Windowing",
    "audio_cone",
    "centre_and_normalise",
    "check_model_health",
    "cut_windows",
    "hubness",
    "mean_drift",
    "mean_text",
    "pool_windows",
    "resolve_checkpoint",
    "resolve_precision",
    "sample_rows",
    "sanity_record",
    "to_log_mel",
]
