"""Loops over power spectra of sixteen consecutive frames side by side.

*Lanes* are an array (blocks, bins, 16), so that one machine instruction does the same step for sixteen
frames.

What belongs here: bands, centroids and extremes of such spectra. What does not: constants with a musical
meaning (they come as arguments), peaks (`peaks`).
"""

import math

import numpy as np

from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.simd import (
    convert,
    larger,
    load,
    smaller,
    spread,
    square_root,
    store,
    where_greater,
)

#: Frames side by side.
LANES = 16

#: Bins that a sum runs over in float32 before it goes on in float64.
CHUNK = 41


@kernel(fastmath=True)
def mel_bands(lanes, first_bin, length, weights, mel):  # type: ignore[no-untyped-def]
    """Weighted sums over the bins of each mel band [1]_.

    Parameters
    ----------
    lanes : ndarray of float32, shape (blocks, bins, 16)
        Power.
    first_bin, length : ndarray of int64, shape (bands,)
        Band m weighs bin ``first_bin[m] + i`` with ``weights[m, i]``, i below ``length[m]``.
    weights : ndarray of float32, shape (bands, longest)
        Filter weights.
    mel : ndarray of float32, shape (frames, bands)
        Written.

    References
    ----------
    .. [1] Davis, Mermelstein. "Comparison of parametric representations for monosyllabic word recognition in
       continuously spoken sentences". IEEE TASSP 28(4), 1980.
    """
    bands = len(weights)
    bins = lanes.shape[1]
    flat = lanes.reshape(lanes.size)
    column = np.empty(LANES, np.float32)
    for block in range(len(lanes)):
        frames = min(LANES, len(mel) - block * LANES)
        for m in range(bands):
            place = (block * bins + first_bin[m]) * LANES
            total = spread(np.float32(0), 16)
            for i in range(length[m]):
                total = total + spread(weights[m, i], 16) * load(flat, place + i * LANES, 16)
            store(column, 0, total)
            for lane in range(frames):
                mel[block * LANES + lane, m] = column[lane]


@kernel(fastmath=True)
def centroids(lanes, bin_hz, out):  # type: ignore[no-untyped-def]
    """Magnitude-weighted mean frequency of each frame [1]_, 0 for a frame of zeros.

    Parameters
    ----------
    lanes : ndarray of float32, shape (blocks, bins, 16)
        Power.
    bin_hz : float
        Distance of two bins in Hz.
    out : ndarray of float64, shape (frames,)
        Written, in Hz.

    References
    ----------
    .. [1] Peeters. "A large set of audio features for sound description (similarity and classification) in
       the CUIDADO project". IRCAM, 2004.
    """
    bins = lanes.shape[1]
    flat = lanes.reshape(lanes.size)
    weighted = np.empty(LANES)
    total = np.empty(LANES)
    for block in range(len(lanes)):
        zero = convert(spread(np.float32(0), 16), 0.0)
        sum_weighted, sum_total = zero, zero
        for first in range(0, bins, CHUNK):
            part_weighted, part_total = spread(np.float32(0), 16), spread(np.float32(0), 16)
            for k in range(first, min(first + CHUNK, bins)):
                magnitude = square_root(load(flat, (block * bins + k) * LANES, 16))
                part_total = part_total + magnitude
                part_weighted = part_weighted + spread(np.float32(k - first), 16) * magnitude
            part = convert(part_total, 0.0)
            sum_total = sum_total + part
            sum_weighted = sum_weighted + convert(part_weighted, 0.0) + spread(np.float64(first), 16) * part
        store(weighted, 0, sum_weighted)
        store(total, 0, sum_total)
        for lane in range(min(LANES, len(out) - block * LANES)):
            out[block * LANES + lane] = bin_hz * weighted[lane] / total[lane] if total[lane] > 0 else 0.0


@kernel
def band_extremes(lanes, edges, counts, peaks, valleys):  # type: ignore[no-untyped-def]
    """Mean magnitude of the strongest and of the weakest bins in each band [1]_.

    A band keeps its `count` largest (smallest) values in order while its bins pass by; that needs no sort.

    Parameters
    ----------
    lanes : ndarray of float32, shape (blocks, bins, 16)
        Power.
    edges : ndarray of int64, shape (bands, 2)
        First bin and one past the last bin of each band.
    counts : ndarray of int64, shape (bands,)
        How many of a band's bins are averaged at either end.
    peaks, valleys : ndarray of float64, shape (frames, bands)
        Written.

    References
    ----------
    .. [1] Jiang et al. "Music type classification by spectral contrast feature". ICME, 2002.
    """
    bins = lanes.shape[1]
    flat = lanes.reshape(lanes.size)
    largest = np.empty(np.max(counts) * LANES, np.float32)
    smallest = np.empty(np.max(counts) * LANES, np.float32)
    for block in range(len(lanes)):
        frames = min(LANES, len(peaks) - block * LANES)
        for band in range(len(edges)):
            end = counts[band] * LANES
            largest[:] = 0
            smallest[:] = np.inf
            first = (block * bins + edges[band, 0]) * LANES
            last = (block * bins + edges[band, 1] - 1) * LANES
            # spectra fall, so each end of the band holds what most likely stays: fewer insertions
            for place in range(first, last + 1, LANES):
                value = load(flat, place, 16)
                if where_greater(value, load(largest, end - LANES, 16)) != 0:
                    insert_larger(largest, end, value)
            for place in range(last, first - 1, -LANES):
                value = load(flat, place, 16)
                if where_greater(load(smallest, end - LANES, 16), value) != 0:
                    insert_smaller(smallest, end, value)
            for lane in range(frames):
                peaks[block * LANES + lane, band] = mean_root(largest, lane, end)
                valleys[block * LANES + lane, band] = mean_root(smallest, lane, end)


@subroutine
def insert_larger(kept, end, value):  # type: ignore[no-untyped-def]
    """Insert a vector into vectors that fall from first to last; the least of each lane drops out."""
    for place in range(0, end, LANES):
        other = load(kept, place, 16)
        store(kept, place, larger(value, other))
        value = smaller(value, other)


@subroutine
def insert_smaller(kept, end, value):  # type: ignore[no-untyped-def]
    """Insert a vector into vectors that rise from first to last; the greatest of each lane drops out."""
    for place in range(0, end, LANES):
        other = load(kept, place, 16)
        store(kept, place, smaller(value, other))
        value = larger(value, other)


@subroutine
def mean_root(kept, lane, end):  # type: ignore[no-untyped-def]
    """Mean of the square roots of one lane of vectors."""
    total = 0.0
    for place in range(lane, end, LANES):
        total += math.sqrt(kept[place])
    return total / (end // LANES)
