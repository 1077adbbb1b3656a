"""Spectra of a stretch of a track: what is common to all passes over it.

Task: from mono samples at 44,100 Hz to power or magnitude spectra, frame by frame, in the two
conventions that the features are defined in: librosa's (centred, zero-padded, periodic Hann, float64)
and essentia's (frames from the first sample, symmetric windows normalised to sum 2, float32).

No pass ever holds the spectra of a whole track: they are made in `blocks` of frames, read while they are
in the cache, and overwritten. Blocks begin at multiples of sixteen frames, so no number depends on their
size.

What does not belong here: the transform (`fft`), loops over bins (`lanes`), features.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_assets.features.fast import fft
from audio_assets.features.fast.lanes import LANES

FRAME = 2048
HOP = 512
BINS = FRAME // 2 + 1

#: Frames whose spectra are in memory at a time; a multiple of 16.
BLOCK_FRAMES = 128

#: Coefficients a0, a1, a2 of the cosine-sum windows w(n) = a0 - a1 cos(x) + a2 cos(2x), x = 2πn/(N-1).
COSINE_SUMS = {"hann": (0.5, 0.5, 0.0), "blackmanharris62": (0.44959, 0.49364, 0.05677)}


def blocks(frames: int) -> Iterator[tuple[int, int]]:
    """First frame and number of frames of consecutive blocks; the last is shorter."""
    for first in range(0, frames, BLOCK_FRAMES):
        yield first, min(BLOCK_FRAMES, frames - first)


def rounded_up(frames: int, multiple: int) -> int:
    """Next multiple."""
    return -(-frames // multiple) * multiple


def stretch(samples: NDArray[np.float32], start: int, count: int) -> NDArray[np.float32]:
    """Cut `count` samples out of a track, with zeros before its beginning and after its end.

    Only what reaches over an edge is copied (or is read-only, for which kernels are not compiled).
    """
    inside = samples[max(0, start) : max(0, start + count)]
    if len(inside) == count and inside.flags.writeable:
        return inside
    out = np.zeros(count, np.float32)
    before = min(count, max(0, -start))
    out[before : before + len(inside)] = inside
    return out


def librosa_lanes(samples: NDArray[np.float32], first: int, frames: int) -> NDArray[np.float32]:
    """Power spectrogram |librosa.stft|² with librosa's defaults, sixteen frames side by side.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        The track.
    first, frames : int
        The frames wanted; frame i is centred on the track's sample 512 · i.

    Returns
    -------
    ndarray of float32, shape (ceil(frames / 16), 1025, 16)
        Bin k of frame first + i is ``[i // 16, k, i % 16]``; zeros after the last frame. Transformed in
        float64, because the weakest bins of a band, which the spectral contrast is about, drown in float32's
        rounding.
    """
    lanes = np.empty((-(-frames // LANES), BINS, LANES), np.float32)
    count = fft.samples_read(FRAME, HOP, len(lanes) * LANES)
    signal = stretch(samples, first * HOP - FRAME // 2, count)
    tables = (*fft.tile_layout(FRAME, HOP), periodic_hann(), *roots(FRAME, np.float64))
    fft.power_in_lanes(signal, HOP, *tables, lanes)
    lanes[-1, :, (frames - 1) % LANES + 1 :] = 0
    return lanes


def essentia_rows(
    samples: NDArray[np.float32],
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
    samples : ndarray of float32, shape (n,)
        The track.
    start, frame_size, hop, frames : int
        Frame i consists of `frame_size` samples from sample start + i · hop on; `start` may be negative.
    window : {'hann', 'blackmanharris62'}
        The symmetric window; it is scaled to sum 2, so that a full-scale sine has magnitude 1.
    bins : int
        Only the first `bins` bins are wanted.

    Returns
    -------
    ndarray of float32, shape (frames, bins)
    """
    rows = np.empty((rounded_up(frames, fft.WIDTH), bins), np.float32)
    signal = stretch(samples, start, fft.samples_read(frame_size, hop, len(rows)))
    weights = normalized_window(window, frame_size)
    fft.magnitudes_in_rows(
        signal, hop, *fft.tile_layout(frame_size, hop), weights, *roots(frame_size, np.float32), rows
    )
    return rows[:frames]


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
