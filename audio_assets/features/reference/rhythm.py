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
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ, mean, std, whole_frames
from audio_assets.features.records import Columns, RhythmFeatures
from audio_assets.features.summaries import (
    BEAT_BANDS_HZ,
    beat_loudness_columns,
    histogram_columns,
    interval_columns,
    rhythm_transform_columns,
)

FRAME_SIZE = 2048
HOP_SIZE = 1024
MEL_BANDS = 40


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
    beats_s, intervals_s = track_beats(samples)
    return RhythmFeatures(
        **_onset_columns(samples),
        **interval_columns(intervals_s),
        **histogram_columns(intervals_s),
        **rhythm_transform_columns(_rhythm_transform(samples)),
        **beat_loudness_columns(*_beat_loudness(samples, beats_s)),
    )


def _onset_columns(samples: NDArray[np.float32]) -> Columns:
    from audio_assets.features.reference._librosa import librosa

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
    from audio_assets.features._essentia import es

    return es.RhythmExtractor2013(method="multifeature")


def track_beats(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Beat times and the intervals between them, in seconds; both empty below two beats."""
    tracker = _beat_tracker()
    tracker.reset()
    # essentia dithers with C rand(): without a seed the beats depend on what was analysed before.
    ctypes.CDLL(None).srand(1)
    _, beats_s, _, _, intervals_s = tracker(samples)
    if len(beats_s) < 2:
        beats_s = intervals_s = np.empty(0, dtype=np.float32)
    return beats_s, intervals_s


def _rhythm_transform(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    from audio_assets.features._essentia import es

    window = es.Windowing(type="hann", size=FRAME_SIZE)
    spectrum = es.Spectrum(size=FRAME_SIZE)
    mel_bands = es.MelBands(numberBands=MEL_BANDS, lowFrequencyBound=0, highFrequencyBound=SAMPLE_RATE_HZ / 2)
    frames = whole_frames(samples, FRAME_SIZE, HOP_SIZE)
    bands = np.array([mel_bands(spectrum(window(frame))) for frame in frames])
    transform: NDArray[np.float32] = es.RhythmTransform(frameSize=8, hopSize=4)(bands)
    return np.abs(transform)


def _beat_loudness(
    samples: NDArray[np.float32], beats_s: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Energy of the beats with a whole window inside the track, and its shares in the bands."""
    from audio_assets.features._essentia import es

    if not len(beats_s):
        return np.empty(0, np.float32), np.empty((0, len(BEAT_BANDS_HZ) - 1), np.float32)
    loudness, ratios = es.BeatsLoudness(beats=beats_s, frequencyBands=BEAT_BANDS_HZ)(samples)
    return loudness, ratios
