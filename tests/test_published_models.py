"""The published models' exact configurations, at full size with random weights, through the real path.

Offline, from a pickle in the hub's own cache (the larger ones are published as pickles only) and from a local
folder. What the real weights would say is not tested here: they cannot be fetched.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from clap_folders import as_pickle, into_hub_cache, write_checkpoint
from safetensors import safe_open

from audio_assets.embeddings import (
    Checkpoint,
    ClapEncoder,
    TextTower,
    published,
    resolve_checkpoint,
    to_log_mel,
)
from audio_assets.embeddings.files import file_sha256
from audio_assets.embeddings.health import unlike_signals

# As their config.json says; what it leaves out is transformers' default.
LARGER = {
    "architectures": ["ClapModel"],
    "audio_config": {
        "depths": [2, 2, 12, 2],
        "hidden_size": 1024,
        "model_type": "clap_audio_model",
        "patch_embeds_hidden_size": 128,
    },
    "hidden_size": 768,
    "initializer_factor": 1.0,
    "logit_scale_init_value": 14.285714285714285,
    "model_type": "clap",
    "num_hidden_layers": 16,
    "projection_dim": 512,
    "projection_hidden_act": "relu",
    "text_config": {"model_type": "clap_text_model"},
    "torch_dtype": "float32",
    "transformers_version": "4.35.0.dev0",
}
UNFUSED = {
    "architectures": ["ClapModel"],
    "audio_config": {
        "fusion_num_hidden_layers": 2,
        "model_type": "clap_audio_model",
        "projection_hidden_size": 768,
    },
    "hidden_size": 768,
    "initializer_factor": 1.0,
    "logit_scale_init_value": 14.285714285714285,
    "model_type": "clap",
    "num_hidden_layers": 16,
    "projection_dim": 512,
    "projection_hidden_act": "relu",
    "text_config": {
        "classifier_dropout": None,
        "fusion_hidden_size": 768,
        "fusion_num_hidden_layers": 2,
        "initializer_range": 0.02,
        "model_type": "clap_text_model",
        "projection_hidden_size": 768,
    },
    "transformers_version": "4.36.0.dev0",
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Room for gigabytes, given back at once."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def embeds(checkpoint: Checkpoint) -> None:
    """Both towers work, alone, and give unit vectors of 512."""
    audio = ClapEncoder(checkpoint, device="cpu", precision="float32").embed_log_mel(
        to_log_mel(unlike_signals()[:1])
    )
    text = TextTower(checkpoint, "cpu").embed(["a slow piano ballad"])
    for vectors in (audio, text):
        assert vectors.shape == (1, 512)
        assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-5)


def test_the_larger_models_from_a_pickle_in_the_hubs_cache(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_checkpoint(disk / "made", LARGER)
    model = published.PUBLISHED_MODELS["laion/larger_clap_general"]
    ours = published.PublishedModel(model.model_id, model.revision, file_sha256(as_pickle(folder)))
    monkeypatch.setitem(published.PUBLISHED_MODELS, model.model_id, ours)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(disk / "hub"))
    into_hub_cache(folder, disk / "hub", model.model_id, model.revision)
    found = resolve_checkpoint(model.model_id, "", disk / "cache", offline=True)
    assert found.revision == model.revision
    assert _n_weights(found.weights_path) == 193_913_882
    embeds(found)


def test_the_unfused_model_from_a_local_folder(disk: Path) -> None:
    folder = write_checkpoint(disk / "made", UNFUSED)
    found = resolve_checkpoint(str(folder), "", disk / "unused", offline=True)
    assert _n_weights(found.weights_path) == 153_492_890
    embeds(found)


def _n_weights(path: Path) -> int:
    with safe_open(path, framework="np") as file:
        names = [name for name in file.keys() if _is_weight(name)]  # noqa: SIM118
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in names)


def _is_weight(name: str) -> bool:
    buffers = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
    return not name.endswith((*buffers, "running_mean", "running_var"))
