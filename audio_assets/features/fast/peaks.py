"""Peaks of spectra, and the inharmonicity that they tell.

What belongs here: finding, interpolating and choosing local maxima. What does not: what notes they are
(`pitch_classes`).
"""

import math

import numpy as np

from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.lanes import LANES
from audio_assets.features.fast.ranks import select
from audio_assets.features.fast.simd import larger, load, lowest_bit, spread, where_greater

#: Smallest energy that float32 tells from 0 with some digits left.
LEAST_ENERGY = 1e-40


@kernel
def prominent_peaks(lanes, frames, first, last, share, positions, heights):  # type: ignore[no-untyped-def]
    """Spectral peaks above a share of their frame's maximum, by parabolic interpolation [1]_.

    Parameters
    ----------
    lanes : ndarray of float32, shape (blocks, bins, 16)
        Power.
    frames : int
        Number of frames that the lanes hold.
    first, last : int
        Bins that may be a peak, `last` included.
    share : float
        A peak is higher than this share of the highest bin of its frame.
    positions, heights : ndarray of float32, shape (at least frames * (last - first + 2) // 2,)
        Written: fractional bin and interpolated power of each peak.

    Returns
    -------
    int
        Number of peaks.

    References
    ----------
    .. [1] Smith. "Spectral audio signal processing", quadratic interpolation of spectral peaks. 2011.
    """
    count = 0
    bins = lanes.shape[1]
    flat = lanes.reshape(lanes.size)
    for block in range(len(lanes)):
        start = block * bins * LANES
        highest = spread(np.float32(0), 16)
        for k in range(bins):
            highest = larger(highest, load(flat, start + k * LANES, 16))
        limit = highest * spread(np.float32(share), 16)
        present = np.uint64((1 << min(LANES, frames - block * LANES)) - 1)
        for k in range(first, last + 1):
            place = start + k * LANES
            middle = load(flat, place, 16)
            found = present & where_greater(middle, limit)
            if found:
                found &= where_greater(middle, load(flat, place - LANES, 16))
                found &= ~where_greater(load(flat, place + LANES, 16), middle)
            while found:
                at = place + lowest_bit(found)
                found &= found - np.uint64(1)
                slope = np.float64(flat[at + LANES] - flat[at - LANES]) / 2
                curvature = np.float64(flat[at - LANES] + flat[at + LANES]) - 2 * np.float64(flat[at])
                shift = np.float32(-slope / curvature) if abs(slope) < abs(curvature) else np.float32(0)
                positions[count] = k + np.float64(shift)
                heights[count] = flat[at] + np.float32(0.5) * np.float32(slope) * shift
                count += 1
    return count


@subroutine
def interpolated_peak(left, middle, right):  # type: ignore[no-untyped-def]
    """Vertex of the parabola through three neighbouring bins: offset in bins, height."""
    offset = np.float32(0.5) * ((left - right) / (left - np.float32(2) * middle + right))
    return offset, middle - np.float32(0.25) * (left - right) * offset


@subroutine
def spectral_peaks(spectrum, bin_hz, first, max_hz, threshold, hz, heights):  # type: ignore[no-untyped-def]
    """Local maxima of a magnitude spectrum, from low to high frequency, as essentia's SpectralPeaks.

    A peak is a strict rise, a plateau of one or more bins, a strict fall. A single bin is interpolated by a
    parabola, a plateau has its peak in its middle; the first bin (and the last of the spectrum, if `max_hz`
    reaches it) counts as a peak when its only neighbour is lower.

    Parameters
    ----------
    spectrum : ndarray of float32, shape (bins,)
        Magnitudes.
    bin_hz : float32
        Distance of two bins in Hz.
    first : int
        First bin looked at.
    max_hz : float32
        The search ends at the first peak above this frequency.
    threshold : float32
        A peak's highest bin exceeds this magnitude.
    hz, heights : ndarray of float32, shape (most,)
        Written; the search ends when they are full.

    Returns
    -------
    int
        Number of peaks.
    """
    count = 0
    last = len(spectrum) - 1
    if spectrum[first] > spectrum[first + 1] and spectrum[first] > threshold:
        hz[0] = np.float32(first) * bin_hz
        heights[0] = spectrum[first]
        count = 1
    done = first  # bins up to this one belong to a plateau that was looked at
    for start in range(first + 1, last, LANES):
        found = peaks_among(spectrum, start, last)
        while found:
            k = start + lowest_bit(found)
            found &= found - np.uint64(1)
            if k <= done or spectrum[k] <= threshold:
                continue
            done = k
            while done + 1 < last and spectrum[done + 1] == spectrum[k]:
                done += 1
            if spectrum[done + 1] >= spectrum[k]:
                continue
            if done == k:
                offset, height = interpolated_peak(spectrum[k - 1], spectrum[k], spectrum[k + 1])
                position = (np.float32(k) + offset) * bin_hz
            else:
                height = spectrum[k]
                position = np.float32(k + done) * np.float32(0.5) * bin_hz
            if position > max_hz or count == len(hz):
                return count
            hz[count] = position
            heights[count] = height
            count += 1
    at_end = max_hz > np.float32(last - 1) * bin_hz
    if at_end and count < len(hz) and spectrum[last] > spectrum[last - 1] and spectrum[last] > threshold:
        hz[count] = np.float32(last) * bin_hz
        heights[count] = spectrum[last]
        count += 1
    return count


@subroutine
def peaks_among(spectrum, start, last):  # type: ignore[no-untyped-def]
    """Which of the 16 bins from `start` are above their left and not below their right neighbour, as bits."""
    found = np.uint64(0)
    if start + LANES <= last:
        middle = load(spectrum, start, 16)
        rise = where_greater(middle, load(spectrum, start - 1, 16))
        return rise & ~where_greater(load(spectrum, start + 1, 16), middle)
    for k in range(start, last):
        if spectrum[k - 1] < spectrum[k] >= spectrum[k + 1]:
            found |= np.uint64(1) << np.uint64(k - start)
    return found


@subroutine
def cut_to_strongest(hz, heights, count, most):  # type: ignore[no-untyped-def]
    """Keep the `most` highest of `count` peaks in place; of equal ones the lower. Returns how many stay."""
    if count <= most:
        return count
    limit = select(heights[:count].copy(), count - most)
    equal = most
    for i in range(count):
        equal -= heights[i] > limit
    kept = 0
    for i in range(count):
        take = heights[i] > limit
        if heights[i] == limit and equal > 0:
            equal -= 1
            take = True
        if take:
            hz[kept] = hz[i]
            heights[kept] = heights[i]
            kept += 1
    return kept


@subroutine
def peak_inharmonicity(hz, heights):  # type: ignore[no-untyped-def]
    """Energy-weighted distance of the partials from multiples of the first [1]_.

    Parameters
    ----------
    hz, heights : ndarray of float32, shape (peaks,)
        Frequencies from low to high, magnitudes.

    Returns
    -------
    float
        Σ|f_i - m_i f_0| a_i² / (f_0 Σ a_i²) with the nearest multiple m_i; 0 to 0.5; -1 for peaks so weak
        that their energy is 0 in float32, in which no pitch can be found.

    References
    ----------
    .. [1] Peeters. "A large set of audio features for sound description". IRCAM, 2004.
    """
    fundamental = np.float64(hz[0])
    energy = np.float64(heights[0]) ** 2
    deviation = 0.0
    for i in range(1, len(hz)):
        partial = np.float64(heights[i]) ** 2
        ratio = hz[i] / fundamental
        deviation += abs(ratio - math.floor(ratio + 0.5)) * partial
        energy += partial
    return deviation / energy if energy > LEAST_ENERGY else -1.0


@kernel
def inharmonicities(magnitudes, bin_hz, first, max_hz, most, out):  # type: ignore[no-untyped-def]
    """Inharmonicity of every frame over its first `most` peaks; -1 where there are fewer than two.

    Parameters
    ----------
    magnitudes : ndarray of float32, shape (frames, bins)
        Magnitude spectra.
    bin_hz, first, max_hz
        As `spectral_peaks`.
    most : int
        Number of peaks that count.
    out : ndarray of float64, shape (frames,)
        Written.
    """
    hz = np.empty(most, np.float32)
    heights = np.empty(most, np.float32)
    for row in range(len(magnitudes)):
        count = spectral_peaks(magnitudes[row], bin_hz, first, max_hz, np.float32(0), hz, heights)
        out[row] = peak_inharmonicity(hz[:count], heights[:count]) if count > 1 else -1.0
