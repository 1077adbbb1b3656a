"""Samples to 56 named numbers: rhythm, timbre and tonality (numpy in, numbers out).

What belongs here: the features' definitions, their computation and what a column means. What does not:
files, storage, orchestration. essentia and librosa load with the first analysis, not with this import.
"""

from audio_assets.features._numeric import SAMPLE_RATE_HZ
from audio_assets.features.columns import FEATURE_NAMES, FEATURES, Feature
from audio_assets.features.extract import EXTRACTOR_VERSION, extract_features, refuse_unanalysable
from audio_assets.features.rhythm import RhythmFeatures, rhythm_features
from audio_assets.features.spectral import SpectralFeatures, spectral_features
from audio_assets.features.tonal import TonalFeatures, key_angle_rad, tonal_features

#: Modules that a forkserver loads once so that its workers need not.
PRELOAD = ("audio_assets.features._libraries",)

__all__ = [
    "EXTRACTOR_VERSION",
    "FEATURES",
    "FEATURE_NAMES",
    "PRELOAD",
    "SAMPLE_RATE_HZ",
    "Feature",
    "RhythmFeatures",
    "SpectralFeatures",
    "TonalFeatures",
    "extract_features",
    "key_angle_rad",
    "refuse_unanalysable",
    "rhythm_features",
    "spectral_features",
    "tonal_features",
]
