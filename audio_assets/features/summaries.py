"""From what an extractor found in a track (beats, profiles, a key) to columns.

What belongs here: statistics that both extractors write in the same way. What does not: analysis of
samples or spectra.
"""

import math

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import entropy_bits, mean, std
from audio_assets.features.records import Columns

#: Edges of the bands of the beats' loudness, in Hz: two low, two middle, one high.
BEAT_BANDS_HZ = [20.0, 150.0, 400.0, 3200.0, 7000.0, 22050.0]

MAJOR_DEGREES = [0, 2, 4, 5, 7, 9, 11]
MINOR_DEGREES = [0, 2, 3, 5, 7, 8, 10]


def interval_columns(intervals_s: NDArray[np.float32]) -> Columns:
    """Columns of the times between beats, shape (beats - 1,); None without any."""
    if not len(intervals_s):
        return dict.fromkeys(("beat_interval_mean", "beat_interval_std", "beat_interval_cv"))
    return {
        "beat_interval_mean": mean(intervals_s),
        "beat_interval_std": std(intervals_s),
        "beat_interval_cv": std(intervals_s) / mean(intervals_s),
    }


def histogram_columns(intervals_s: NDArray[np.float32]) -> Columns:
    """Columns of the BPM histogram (essentia's BpmHistogramDescriptors) of the times between beats."""
    from audio_assets.features._essentia import es

    names = [f"bpm_{peak}_{what}" for peak in ("first", "second") for what in ("peak", "weight", "spread")]
    if not len(intervals_s):
        return dict.fromkeys([*names, "bpm_peak_ratio", "bpm_histogram_entropy"])
    *peaks, histogram = es.BpmHistogramDescriptors()(intervals_s)
    first_weight, second_weight = float(peaks[1]), float(peaks[4])
    return {
        **dict(zip(names, map(float, peaks), strict=True)),
        "bpm_peak_ratio": second_weight / first_weight if first_weight else 0.0,
        "bpm_histogram_entropy": entropy_bits(histogram),
    }


def rhythm_transform_columns(values: NDArray[np.float32]) -> Columns:
    """Columns of the rhythm transform's non-negative values, of any shape."""
    return {
        "rhythm_transform_mean": mean(values),
        "rhythm_transform_std": std(values),
        "rhythm_transform_max": float(values.max()),
        "rhythm_transform_entropy": entropy_bits(values),
    }


def beat_loudness_columns(loudness: NDArray[np.float32], ratios: NDArray[np.float32]) -> Columns:
    """Columns of the energy at the beats.

    Parameters
    ----------
    loudness : ndarray of float32, shape (beats,)
        Energy of each beat that has a whole window inside the track.
    ratios : ndarray of float32, shape (beats, 5)
        Its shares in `BEAT_BANDS_HZ`.
    """
    names = ("loudness_mean", "loudness_std", "low_ratio", "mid_ratio", "high_ratio")
    columns: Columns = dict.fromkeys(f"beats_{name}" for name in names)
    if len(loudness):
        columns |= {"beats_loudness_mean": mean(loudness), "beats_loudness_std": std(loudness)}
    if loudness.any():  # a silent beat has no bands; beside audible ones it counts as 0 (CONTRACT)
        columns |= {
            "beats_low_ratio": mean(ratios[:, 0] + ratios[:, 1]),
            "beats_mid_ratio": mean(ratios[:, 2] + ratios[:, 3]),
            "beats_high_ratio": mean(ratios[:, 4]),
        }
    return columns


def chroma_columns(chroma: NDArray[np.float64]) -> Columns:
    """Columns of the mean chroma, shape (12,); bin 0 is C."""
    total = chroma.sum()
    return {
        "chroma_entropy": entropy_bits(chroma),
        "major_alignment": float(chroma[MAJOR_DEGREES].sum() / total) if total else None,
        "minor_alignment": float(chroma[MINOR_DEGREES].sum() / total) if total else None,
    }


def hpcp_columns(profiles: NDArray[np.floating]) -> Columns:
    """Columns of the harmonic pitch class profiles of all frames, shape (frames, 12); bin 0 is A."""
    profile = profiles.mean(axis=0, dtype=np.float64)
    if not profile.any():
        bins = [f"hpcp_{i}" for i in range(12)]
        return dict.fromkeys([*bins, "hpcp_entropy", "hpcp_std", "hpcp_max", "hpcp_temporal_std"])
    return {
        **{f"hpcp_{i}": float(value) for i, value in enumerate(profile)},
        "hpcp_entropy": entropy_bits(profile),
        "hpcp_std": std(profile),
        "hpcp_max": float(profile.max()),
        "hpcp_temporal_std": mean(profiles.std(axis=0, dtype=np.float64)),
    }


def key_columns(strength: float, is_minor: bool, angle_rad: float) -> Columns:
    """Columns of a key, whose tonic is an angle on the circle of twelve semitones, C = 0."""
    return {
        "key_strength": strength,
        "is_minor": float(is_minor),
        "key_cos": math.cos(angle_rad),
        "key_sin": math.sin(angle_rad),
    }


#: What the columns of a key are for a track without tonal content.
NO_KEY: Columns = dict.fromkeys(("key_strength", "is_minor", "key_cos", "key_sin"))
