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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ, entropy_bits, mean, std, whole_frames

FRAME_SIZE = 4096
HOP_SIZE = 2048

MAJOR_DEGREES = [0, 2, 4, 5, 7, 9, 11]
MINOR_DEGREES = [0, 2, 3, 5, 7, 8, 10]

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
IS_MINOR = {"major": 0.0, "minor": 1.0}

Columns = dict[str, float | None]


@dataclass(frozen=True)
class TonalFeatures:
    """The tonal columns in contract order; None where a column has no meaning for the track."""

    chroma_entropy: float | None
    major_alignment: float | None
    minor_alignment: float | None
    hpcp_0: float | None
    hpcp_1: float | None
    hpcp_2: float | None
    hpcp_3: float | None
    hpcp_4: float | None
    hpcp_5: float | None
    hpcp_6: float | None
    hpcp_7: float | None
    hpcp_8: float | None
    hpcp_9: float | None
    hpcp_10: float | None
    hpcp_11: float | None
    hpcp_entropy: float | None
    hpcp_std: float | None
    hpcp_max: float | None
    hpcp_temporal_std: float | None
    key_strength: float | None
    is_minor: float | None
    key_cos: float | None
    key_sin: float | None


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
    return TonalFeatures(**_chroma_columns(samples), **_hpcp_columns(samples), **_key_columns(samples))


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


def _chroma_columns(samples: NDArray[np.float32]) -> Columns:
    from audio_assets.features._libraries import librosa

    chroma = librosa.feature.chroma_stft(y=samples, sr=SAMPLE_RATE_HZ).mean(axis=1, dtype=np.float64)
    total = chroma.sum()
    return {
        "chroma_entropy": entropy_bits(chroma),
        "major_alignment": float(chroma[MAJOR_DEGREES].sum() / total) if total else None,
        "minor_alignment": float(chroma[MINOR_DEGREES].sum() / total) if total else None,
    }


def _hpcp_columns(samples: NDArray[np.float32]) -> Columns:
    profiles = _hpcp(samples)
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


def _hpcp(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """HPCP of every frame, shape (frames, 12); bin 0 is A."""
    from audio_assets.features._libraries import es

    window = es.Windowing(type="blackmanharris62", size=FRAME_SIZE)
    spectrum = es.Spectrum(size=FRAME_SIZE)
    band = {"minFrequency": 20, "maxFrequency": 5000}
    peaks = es.SpectralPeaks(maxPeaks=100, magnitudeThreshold=1e-5, orderBy="magnitude", **band)
    hpcp = es.HPCP(size=12, normalized="unitSum", **band)
    frames = whole_frames(samples, FRAME_SIZE, HOP_SIZE)
    return np.array([hpcp(*peaks(spectrum(window(frame)))) for frame in frames])


def _key_columns(samples: NDArray[np.float32]) -> Columns:
    from audio_assets.features._libraries import es

    key, scale, strength = es.KeyExtractor()(samples)
    if strength == 0:  # what essentia answers where it met no tonal content; the key is then made up
        return dict.fromkeys(("key_strength", "is_minor", "key_cos", "key_sin"))
    if scale not in IS_MINOR:
        raise ValueError(f"unknown scale {scale!r}")
    angle_rad = key_angle_rad(key)
    return {
        "key_strength": float(strength),
        "is_minor": IS_MINOR[scale],
        "key_cos": math.cos(angle_rad),
        "key_sin": math.sin(angle_rad),
    }
