"""Samples to 56 named numbers: rhythm, timbre and tonality (numpy in, numbers out), in two ways.

`reference` has the libraries compute that define the features; `fast`, the default, computes the same at a
twentieth of the cost. Tests and ``doctor`` judge one by the other.

What belongs here: the features' definitions, their computation and what a column means. What does not:
files, storage, orchestration. numba, essentia and librosa load with the first analysis, not with this
import.
"""

from audio_assets.features._numeric import SAMPLE_RATE_HZ
from audio_assets.features.columns import FEATURE_NAMES, FEATURES, Feature
from audio_assets.features.extract import (
    EXTRACTOR_VERSION,
    EXTRACTOR_VERSIONS,
    Extractor,
    extract_features,
    refuse_unanalysable,
)

#: Modules that a forkserver loads once so that its workers need not.
PRELOAD = ("audio_assets.features._warm_up",)

__all__ = [
    "EXTRACTOR_VERSION",
    "EXTRACTOR_VERSIONS",
    "FEATURES",
    "FEATURE_NAMES",
    "PRELOAD",
    "SAMPLE_RATE_HZ",
    "Extractor",
    "Feature",
    "extract_features",
    "refuse_unanalysable",
]
