"""Spectra that several features share, each made once a track.

Task: from mono samples at 44,100 Hz to power or magnitude spectra, frame by frame, in the two
conventions that the features are defined in: librosa's (centred, zero-padded, periodic Hann, float64)
and essentia's (frames from the first sample, symmetric windows normalised to sum 2, float32).
`track_spectra` makes what more than one family needs; `onset_scan` makes the spectra at 2048 / 512 in
essentia's convention.

What does not belong here: the transform (`fft`), loops over bins (`lanes`), features.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_assets.features.fast import fft
from audio_assets.features.fast.lanes import LANES, mel_bands

FRAME = 2048
HOP = 512
BINS = FRAME // 2 + 1

#: Zeros before the first sample: half the longest frame.
EDGE = 2048

#: Zeros after the last sample: frames are transformed by eights, so up to seven lie behind the end.
TAIL = 16 * 4096

#: Coefficients a0, a1, a2 of the cosine-sum windows w(n) = a0 - a1 cos(x) + a2 cos(2x), x = 2πn/(N-1).
COSINE_SUMS = {"hann": (0.5, 0.5, 0.0), "blackmanharris62": (0.44959, 0.49364, 0.05677)}

MEL_BANDS = 128


@dataclass(frozen=True)
class Spectra:
    """Spectra of one track.

    Parameters
    ----------
    length : int
        Number of samples.
    padded : ndarray of float32, shape (EDGE + length + TAIL,)
        The samples with zeros on both sides.
    frames : int
        Number of librosa's centred frames.
    lanes : ndarray of float32, shape (ceil(frames / 16), 1025, 16)
        Their power (`librosa_lanes`).
    log_mel_db : ndarray of float64, shape (frames, 128)
        Their mel bands in dB (`log_mel`).
    """

    length: int
    padded: NDArray[np.float32]
    frames: int
    lanes: NDArray[np.float32]
    log_mel_db: NDArray[np.float64]


def track_spectra(samples: NDArray[np.float32]) -> Spectra:
    """Make the spectra of one track.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, at least 4096 samples.

    Returns
    -------
    Spectra
    """
    signal = padded(samples)
    frames = 1 + len(samples) // HOP
    lanes = librosa_lanes(signal, frames)
    return Spectra(len(samples), signal, frames, lanes, log_mel(lanes, frames))


def padded(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put `EDGE` zeros before a signal and `TAIL` zeros after it."""
    return np.pad(samples, (EDGE, TAIL))


def librosa_lanes(signal: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Power spectrogram |librosa.stft|² with librosa's defaults, sixteen frames side by side.

    Parameters
    ----------
    signal : ndarray of float32, shape (n,)
        From `padded`.
    frames : int
        Number of frames; frame i is centred on the track's sample 512 · i.

    Returns
    -------
    ndarray of float32, shape (ceil(frames / 16), 1025, 16)
        Bin k of frame i is ``[i // 16, k, i % 16]``; zeros after the last frame. Transformed in float64,
        because the weakest bins of a band, which the spectral contrast is about, drown in float32's rounding.
    """
    lanes = np.empty((-(-frames // LANES), BINS, LANES), np.float32)
    fft.power_in_lanes(signal, EDGE - FRAME // 2, HOP, periodic_hann(), *roots(FRAME, np.float64), lanes)
    lanes[-1, :, (frames - 1) % LANES + 1 :] = 0
    return lanes


def essentia_rows(
    signal: NDArray[np.float32],
    start: int,
    frame_size: int,
    hop: int,
    window: str,
    frames: int,
    bins: int,
) -> NDArray[np.float32]:
    """Magnitude spectra as essentia's Windowing and Spectrum give them, a frame in each row.

    Parameters
    ----------
    signal : ndarray of float32, shape (n,)
        From `padded`.
    start, frame_size, hop, frames : int
        Frame i consists of `frame_size` samples of `signal` from sample start + i · hop on.
    window : {'hann', 'blackmanharris62'}
        The symmetric window; it is scaled to sum 2, so that a full-scale sine has magnitude 1.
    bins : int
        Only the first `bins` bins are wanted.

    Returns
    -------
    ndarray of float32, shape (frames, bins)
    """
    rows = np.empty((-(-frames // fft.WIDTH) * fft.WIDTH, bins), np.float32)
    weights = normalized_window(window, frame_size)
    fft.magnitudes_in_rows(signal, start, hop, weights, *roots(frame_size, np.float32), rows)
    return rows[:frames]


def log_mel(lanes: NDArray[np.float32], frames: int) -> NDArray[np.float64]:
    """Mel spectrogram in dB, as librosa.power_to_db(librosa.feature.melspectrogram(...)) of 128 bands.

    Parameters
    ----------
    lanes : ndarray of float32, shape (ceil(frames / 16), 1025, 16)
        From `librosa_lanes`.
    frames : int
        Number of frames.

    Returns
    -------
    ndarray of float64, shape (frames, 128)
        Nothing lies more than 80 dB below the highest value of the track.
    """
    mel = np.empty((frames, MEL_BANDS), np.float32)
    mel_bands(lanes, *mel_filters(), mel)
    return clipped_db(mel)


def clipped_db(power: NDArray[Any]) -> NDArray[np.float64]:
    """Power in dB, at least -100 dB and at most 80 dB below the maximum (librosa.power_to_db's defaults)."""
    decibel: NDArray[np.float64] = np.log(np.maximum(power, 1e-10), dtype=np.float64)
    decibel *= 10 / np.log(10)
    decibel.clip(decibel.max() - 80, None, out=decibel)
    return decibel


@cache
def mel_filters() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Triangular filters of 128 mel bands from 0 to 22,050 Hz, each of area 1 over Hz [1]_.

    The mel scale is linear below 1000 Hz (200/3 Hz a mel), logarithmic above (27 mels from 1000 to 6400 Hz).

    Returns
    -------
    first_bin, length : ndarray of int64, shape (128,)
        First bin with a positive weight, number of such bins.
    weights : ndarray of float32, shape (128, longest)
        Weights from that bin on, zeros on the right.

    References
    ----------
    .. [1] Slaney. "Auditory toolbox, version 2". Interval Research, technical report 1998-010.
    """
    top_mel = 15 + 27 * np.log(22_050 / 1000) / np.log(6.4)
    mels = np.linspace(0, top_mel, MEL_BANDS + 2)
    corners_hz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))
    hz = np.arange(BINS) * (44_100 / FRAME)
    left, centre, right = (corners_hz[i : i + MEL_BANDS, None] for i in range(3))
    triangles = np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre))
    filters = np.maximum(0, triangles) * 2 / (right - left)
    first_bin = (filters > 0).argmax(axis=1)
    length = (filters > 0).sum(axis=1)
    wide = np.pad(filters, ((0, 0), (0, length.max())))
    return (
        first_bin,
        length,
        np.array([wide[m, i : i + length.max()] for m, i in enumerate(first_bin)], np.float32),
    )


def roots(frame_size: int, dtype: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Tables that the transform of real frames needs."""
    return fft.stage_roots(frame_size // 2, dtype), fft.split_roots(frame_size // 2, dtype)


@cache
def periodic_hann() -> NDArray[np.float64]:
    """Hann window of one period, 2048 samples."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)


@cache
def normalized_window(name: str, size: int) -> NDArray[np.float32]:
    """Symmetric window of sum 2, rounded to float32 where essentia rounds."""
    a0, a1, a2 = COSINE_SUMS[name]
    x = 2 * np.pi * np.arange(size) / (size - 1)
    window = (a0 - a1 * np.cos(x) + a2 * np.cos(2 * x)).astype(np.float32)
    total = np.add.accumulate(np.abs(window))[-1]  # one by one in float32, as the original sums
    scaled: NDArray[np.float32] = window * (np.float32(2) / total)
    return scaled
