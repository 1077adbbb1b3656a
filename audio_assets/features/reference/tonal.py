"""Tonality: chroma, harmonic pitch class profile, key.

Task: from mono samples at 44,100 Hz to the 23 tonal columns of CONTRACT §2. Conventions: **chroma's bin 0 is
C, the HPCP's bin 0 is A** (reference 440 Hz), both go up in semitones; the key is an angle on the circle
of semitones with C = 0; entropies in bits; standard deviations of the population.

What does not belong here: checks of the samples (`extract`) and of the values' ranges (`columns`).

References
----------
.. [1] Gómez. "Tonal description of polyphonic audio for music content processing". INFORMS J. on Computing
   18(3), 2006. (HPCP and key)
.. [2] Faraldo et al. "Key estimation in electronic dance music". ECIR, 2016. (the key profile "bgate")
"""

import math

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ, whole_frames
from audio_assets.features.records import Columns, TonalFeatures
from audio_assets.features.summaries import NO_KEY, chroma_columns, hpcp_columns, key_columns

FRAME_SIZE = 4096
HOP_SIZE = 2048

#: essentia answers with flats for some keys and sharps for others; both spellings are known.
SEMITONES_ABOVE_C = {
    "C": 0,
    "C#": 1,
    "Db": 1,
    "D": 2,
    "D#": 3,
    "Eb": 3,
    "E": 4,
    "F": 5,
    "F#": 6,
    "Gb": 6,
    "G": 7,
    "G#": 8,
    "Ab": 8,
    "A": 9,
    "A#": 10,
    "Bb": 10,
    "B": 11,
}
IS_MINOR = {"major": False, "minor": True}


def tonal_features(samples: NDArray[np.float32]) -> TonalFeatures:
    """Compute the 23 tonal columns.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, finite, at least one second, not silent.

    Returns
    -------
    TonalFeatures
        The HPCP columns are None for a track without a spectral peak between 20 and 5000 Hz, the key
        columns where no key correlates with the track.

    Raises
    ------
    ValueError
        If essentia answers a key or scale that has no place on the circle.
    """
    return TonalFeatures(
        **chroma_columns(_mean_chroma(samples)), **hpcp_columns(_hpcp(samples)), **_key_columns(samples)
    )


def key_angle_rad(key: str) -> float:
    """Angle of a key on the circle of semitones.

    Parameters
    ----------
    key : str
        A note name such as ``"C"``, ``"F#"`` or ``"Bb"``.

    Returns
    -------
    float
        Semitones above C / 12 · 2π, in radians.

    Raises
    ------
    ValueError
        If the name is none of the twelve notes in either spelling.
    """
    if key not in SEMITONES_ABOVE_C:
        raise ValueError(f"unknown key name {key!r}")
    return SEMITONES_ABOVE_C[key] / 12 * 2 * math.pi


def _mean_chroma(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over frames, shape (12,); bin 0 is C."""
    from audio_assets.features.reference._librosa import librosa

    chroma: NDArray[np.float64] = librosa.feature.chroma_stft(y=samples, sr=SAMPLE_RATE_HZ).mean(
        axis=1, dtype=np.float64
    )
    return chroma


def _hpcp(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """HPCP of every frame, shape (frames, 12); bin 0 is A."""
    from audio_assets.features._essentia import es

    window = es.Windowing(type="blackmanharris62", size=FRAME_SIZE)
    spectrum = es.Spectrum(size=FRAME_SIZE)
    band = {"minFrequency": 20, "maxFrequency": 5000}
    peaks = es.SpectralPeaks(maxPeaks=100, magnitudeThreshold=1e-5, orderBy="magnitude", **band)
    hpcp = es.HPCP(size=12, normalized="unitSum", **band)
    frames = whole_frames(samples, FRAME_SIZE, HOP_SIZE)
    return np.array([hpcp(*peaks(spectrum(window(frame)))) for frame in frames])


def _key_columns(samples: NDArray[np.float32]) -> Columns:
    from audio_assets.features._essentia import es

    key, scale, strength = es.KeyExtractor()(samples)
    if strength == 0:  # what essentia answers where it met no tonal content; the key is then made up
        return NO_KEY
    if scale not in IS_MINOR:
        raise ValueError(f"unknown scale {scale!r}")
    return key_columns(float(strength), IS_MINOR[scale], key_angle_rad(key))
