"""Tonality, fast: the 23 tonal columns from spectra that are made once a track.

Task and conventions are those of `audio_assets.features.reference.tonal`, whose functions call the
libraries and are the oracle for these.

What does not belong here: loops (`pitch_classes`, `peaks`), spectra (`spectra`), chroma (`power_scan`).

References
----------
.. [1] Gómez. "Tonal description of polyphonic audio for music content processing". INFORMS J. on Computing
   18(3), 2006. (HPCP)
.. [2] Faraldo, Jordà, Herrera. "A multi-profile method for key estimation in EDM". AES Semantic Audio, 2017.
   (the key profiles "bgate")
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ
from audio_assets.features.fast import pitch_classes
from audio_assets.features.fast.power_scan import PowerScan
from audio_assets.features.fast.spectra import blocks, essentia_rows
from audio_assets.features.records import Columns, TonalFeatures
from audio_assets.features.summaries import NO_KEY, chroma_columns, hpcp_columns, key_columns

HPCP_FRAME = 4096
HPCP_HOP = 2048
HPCP_BAND_HZ = (20.0, 5000.0)
HPCP_SPLIT_HZ = 500.0
HPCP_THRESHOLD = 1e-5
HPCP_PEAKS = 100

#: Bins above the band, so that a peak at its end is seen whole.
SPARE_BINS = 8

KEY_FRAME = 4096
KEY_BAND_HZ = (25.0, 3500.0)
KEY_THRESHOLD = 1e-4
KEY_PEAKS = 60

#: The envelope that whitens the key's peaks has a point every 100 Hz, up to 1.2 times the band's end.
ENVELOPE_STEP_HZ = 100.0
ENVELOPE_POINTS = 43

#: Pitch classes below this share of the highest are no part of the key.
KEY_GATE = 0.2

#: Weight of the degrees of a scale from its tonic up, major and minor [2]_.
KEY_PROFILES = np.array([
    [1.00, 0.00, 0.42, 0.00, 0.53, 0.37, 0.00, 0.77, 0.00, 0.38, 0.21, 0.30],
    [1.00, 0.00, 0.36, 0.39, 0.00, 0.38, 0.00, 0.74, 0.27, 0.00, 0.42, 0.23],
])  # fmt: skip

#: Semitones from A, where the profile starts, to C, where the key's angle does.
A_ABOVE_C = 9


def tonal_features(samples: NDArray[np.float32], power: PowerScan) -> TonalFeatures:
    """Compute the 23 tonal columns.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, finite, at least one second, not silent.
    power : PowerScan
        Of the track.

    Returns
    -------
    TonalFeatures
        As the reference's.
    """
    return TonalFeatures(
        **chroma_columns(power.mean_chroma),
        **hpcp_columns(hpcp(samples)),
        **best_key(key_profile(samples)),
    )


def hpcp(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """HPCP of every whole frame of a track, shape (frames, 12); bin 0 is A."""
    bin_hz = SAMPLE_RATE_HZ / HPCP_FRAME
    frames = 1 + (len(samples) - HPCP_FRAME) // HPCP_HOP
    bins = int(HPCP_BAND_HZ[1] / bin_hz) + SPARE_BINS
    profiles = np.empty((frames, 12))
    for first, count in blocks(frames):
        pitch_classes.hpcp_profiles(
            essentia_rows(samples, first * HPCP_HOP, HPCP_FRAME, HPCP_HOP, "blackmanharris62", count, bins),
            np.float32(bin_hz),
            int(np.ceil(HPCP_BAND_HZ[0] / bin_hz)),
            HPCP_BAND_HZ[0],
            HPCP_SPLIT_HZ,
            np.float32(HPCP_BAND_HZ[1]),
            np.float32(HPCP_THRESHOLD),
            HPCP_PEAKS,
            profiles[first : first + count],
        )
    return profiles


def key_profile(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Whitened pitch class profile of a track, shape (12,); bin 0 is A; its scale has no meaning."""
    half = KEY_FRAME // 2
    frames = -(-(len(samples) + half) // KEY_FRAME)  # centred on multiples of the frame, the last one padded
    first_bin, bin_count, _ = envelope_weights()
    bins = int((first_bin + bin_count).max())
    bin_hz = SAMPLE_RATE_HZ / KEY_FRAME
    profile = np.zeros(12)
    for first, count in blocks(frames):
        magnitudes = essentia_rows(
            samples, first * KEY_FRAME - half, KEY_FRAME, KEY_FRAME, "hann", count, bins
        )
        pitch_classes.key_profile(
            magnitudes,
            envelopes_db(magnitudes),
            ENVELOPE_STEP_HZ,
            np.float32(bin_hz),
            int(np.ceil(KEY_BAND_HZ[0] / bin_hz)),
            KEY_BAND_HZ[0],
            np.float32(KEY_BAND_HZ[1]),
            np.float32(KEY_THRESHOLD),
            KEY_PEAKS,
            key_harmonics(),
            profile,
        )
    return profile


def envelopes_db(magnitudes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Spectral envelope at 0, 100, ... 4200 Hz in dB, shape (frames, 43); the last point is a copy."""
    first, length, weights = envelope_weights()
    energy = np.empty((len(magnitudes), len(first)))
    pitch_classes.envelopes(magnitudes, first, weights, length, energy)
    energy[:, -1] = energy[:, -2]
    return 10 * np.log10(np.maximum(energy, 1e-20))


@cache
def envelope_weights() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """First bin, number of bins and weights (1 - |distance|)⁴ of each envelope point."""
    to_bin = KEY_FRAME / SAMPLE_RATE_HZ
    hz = np.arange(ENVELOPE_POINTS) * ENVELOPE_STEP_HZ
    first = np.maximum(0, ((hz - np.maximum(50, hz * 0.34)) * to_bin + 0.5).astype(np.int64))
    end = np.maximum(first + 1, ((hz + np.maximum(50, hz * 0.58)) * to_bin + 0.5).astype(np.int64))
    centre = (first + end)[:, None] / 2
    distance = np.abs(first[:, None] + np.arange((end - first).max()) - centre) / (end[:, None] - centre)
    return first, end - first, (1 - distance) ** 4


@cache
def key_harmonics() -> NDArray[np.float64]:
    """Harmonics 1 to 5 of a note: (semitones above it modulo 12, weight), shape (n, 2)."""
    table: dict[float, float] = {}
    for harmonic in range(1, 6):
        octaves = math.log2(harmonic)
        semitones = round(12 * octaves % 12, 6) if harmonic in (1, 2, 4) else 12 * octaves % 12
        table[semitones] = table.get(semitones, 0) + 1 / max(1, octaves / 2)
    return np.array(list(table.items()))


def best_key(profile: NDArray[np.float64]) -> Columns:
    """Best correlation of a pitch class profile (bin 0 = A) with a scale on any tonic."""
    gated = profile / (profile.max() or 1)
    gated[gated < KEY_GATE] = 0
    if gated.std() == 0:
        return NO_KEY
    scales = np.array([[np.roll(scale, tonic) for tonic in range(12)] for scale in KEY_PROFILES])
    correlation = np.corrcoef(gated, scales.reshape(24, 12))[0, 1:].reshape(2, 12)
    major, minor = correlation.max(axis=1)
    is_minor = int(minor >= major)
    tonic = int(correlation[is_minor].argmax())
    angle_rad = (tonic + A_ABOVE_C) % 12 / 12 * 2 * math.pi
    return key_columns(float(correlation[is_minor, tonic]), bool(is_minor), angle_rad)
