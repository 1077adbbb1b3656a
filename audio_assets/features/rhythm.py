"""Rhythm: tempo, onsets, beat intervals, their histogram, loudness on the beats, rhythm transform.

Task: from mono samples at 44,100 Hz to the 23 rhythm columns of CONTRACT §2. Conventions: times in seconds,
tempi in beats per minute, standard deviations are of the population, entropies in bits. The libraries'
own algorithms are called plainly: this path is the oracle that faster ones are judged by.

What does not belong here: checks of the samples (`extract`) and of the values' ranges (`columns`).

References
----------
.. [1] Zapata, Davies, Gómez. "Multi-feature beat tracking". IEEE/ACM TASLP 22(4), 2014.
   (essentia's RhythmExtractor2013, method "multifeature")
.. [2] Ellis. "Beat tracking by dynamic programming". J. New Music Research 36(1), 2007.
   (librosa's beat_track)
.. [3] Guaus, Herrera. "The rhythm transform: towards a generic rhythm description". ICMC, 2005.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ, entropy_bits, mean, std, whole_frames

#: Edges of the bands of `BeatsLoudness`, in Hz: two low, two middle, one high.
BEAT_BANDS_HZ = [20.0, 150.0, 400.0, 3200.0, 7000.0, 22050.0]

FRAME_SIZE = 2048
HOP_SIZE = 1024
MEL_BANDS = 40

Columns = dict[str, float | None]


@dataclass(frozen=True)
class RhythmFeatures:
    """The rhythm columns in contract order; None where a column has no meaning for the track."""

    tempo_bpm: float | None
    onset_strength_mean: float | None
    onset_strength_std: float | None
    beat_interval_mean: float | None
    beat_interval_std: float | None
    beat_interval_cv: float | None
    bpm_first_peak: float | None
    bpm_first_weight: float | None
    bpm_first_spread: float | None
    bpm_second_peak: float | None
    bpm_second_weight: float | None
    bpm_second_spread: float | None
    bpm_peak_ratio: float | None
    bpm_histogram_entropy: float | None
    rhythm_transform_mean: float | None
    rhythm_transform_std: float | None
    rhythm_transform_max: float | None
    rhythm_transform_entropy: float | None
    beats_loudness_mean: float | None
    beats_loudness_std: float | None
    beats_low_ratio: float | None
    beats_mid_ratio: float | None
    beats_high_ratio: float | None


def rhythm_features(samples: NDArray[np.float32]) -> RhythmFeatures:
    """Compute the 23 rhythm columns.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, finite, at least one second, not silent.

    Returns
    -------
    RhythmFeatures
        `tempo_bpm` is None where librosa finds no onset. With fewer than two beats the columns of
        intervals, histogram and beat loudness are None.
    """
    beats_s, intervals_s = _beats(samples)
    return RhythmFeatures(
        **_onset_columns(samples),
        **_interval_columns(intervals_s),
        **_histogram_columns(intervals_s),
        **_rhythm_transform_columns(samples),
        **_beat_loudness_columns(samples, beats_s),
    )


def _onset_columns(samples: NDArray[np.float32]) -> Columns:
    from audio_assets.features._libraries import librosa

    # beat_track and onset_strength both start from this spectrogram; making it once changes no bit.
    log_mel = librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE_HZ))
    strength = librosa.onset.onset_strength(S=log_mel, sr=SAMPLE_RATE_HZ)
    median_strength = librosa.onset.onset_strength(S=log_mel, sr=SAMPLE_RATE_HZ, aggregate=np.median)
    tempo, _ = librosa.beat.beat_track(onset_envelope=median_strength, sr=SAMPLE_RATE_HZ)
    tempo_bpm = float(np.asarray(tempo).item())
    return {
        "tempo_bpm": tempo_bpm if tempo_bpm > 0 else None,
        "onset_strength_mean": mean(strength),
        "onset_strength_std": std(strength),
    }


@cache
def _beat_tracker() -> Any:
    from audio_assets.features._libraries import es

    return es.RhythmExtractor2013(method="multifeature")


def _beats(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Beat times and the intervals between them, in seconds; both empty below two beats."""
    tracker = _beat_tracker()
    tracker.reset()
    # essentia dithers with C rand(): without a seed the beats depend on what was analysed before.
    ctypes.CDLL(None).srand(1)
    _, beats_s, _, _, intervals_s = tracker(samples)
    if len(beats_s) < 2:
        beats_s = intervals_s = np.empty(0, dtype=np.float32)
    return beats_s, intervals_s


def _interval_columns(intervals_s: NDArray[np.float32]) -> Columns:
    if not len(intervals_s):
        return dict.fromkeys(("beat_interval_mean", "beat_interval_std", "beat_interval_cv"))
    return {
        "beat_interval_mean": mean(intervals_s),
        "beat_interval_std": std(intervals_s),
        "beat_interval_cv": std(intervals_s) / mean(intervals_s),
    }


def _histogram_columns(intervals_s: NDArray[np.float32]) -> Columns:
    from audio_assets.features._libraries import es

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


def _rhythm_transform_columns(samples: NDArray[np.float32]) -> Columns:
    from audio_assets.features._libraries import es

    window = es.Windowing(type="hann", size=FRAME_SIZE)
    spectrum = es.Spectrum(size=FRAME_SIZE)
    mel_bands = es.MelBands(numberBands=MEL_BANDS, lowFrequencyBound=0, highFrequencyBound=SAMPLE_RATE_HZ / 2)
    frames = whole_frames(samples, FRAME_SIZE, HOP_SIZE)
    bands = np.array([mel_bands(spectrum(window(frame))) for frame in frames])
    magnitudes = np.abs(es.RhythmTransform(frameSize=8, hopSize=4)(bands))
    return {
        "rhythm_transform_mean": mean(magnitudes),
        "rhythm_transform_std": std(magnitudes),
        "rhythm_transform_max": float(magnitudes.max()),
        "rhythm_transform_entropy": entropy_bits(magnitudes),
    }


def _beat_loudness_columns(samples: NDArray[np.float32], beats_s: NDArray[np.float32]) -> Columns:
    from audio_assets.features._libraries import es

    columns: Columns = dict.fromkeys(
        (
            "beats_loudness_mean",
            "beats_loudness_std",
            "beats_low_ratio",
            "beats_mid_ratio",
            "beats_high_ratio",
        )
    )
    if not len(beats_s):
        return columns
    loudness, ratios = es.BeatsLoudness(beats=beats_s, frequencyBands=BEAT_BANDS_HZ)(samples)
    if len(loudness):  # a beat without a whole window inside the track has none
        columns |= {"beats_loudness_mean": mean(loudness), "beats_loudness_std": std(loudness)}
    if loudness.any():  # a silent beat has no bands; beside audible ones it counts as 0 (CONTRACT)
        columns |= {
            "beats_low_ratio": mean(ratios[:, 0] + ratios[:, 1]),
            "beats_mid_ratio": mean(ratios[:, 2] + ratios[:, 3]),
            "beats_high_ratio": mean(ratios[:, 4]),
        }
    return columns
