"""Onset detection functions from magnitudes, levels and bands of consecutive frames.

What does not belong here: the functions that need phases and hence come from the pass over the frames
itself (`onset_scan`).

Sums on which beats hang run one after the other in float32, as in the reference.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.float32 import EPSILON, ONE, ZERO, add_weighted, rayleigh

#: Weights of the frames around the target, the nearest first.
INFOGAIN_WEIGHTS = np.array([1 - i * 0.9 / 5 for i in range(5)]).astype(np.float32)

INFOGAIN_LANES = 16

#: Earlier frames that a value of the information gain looks back on.
INFOGAIN_HISTORY = 10

#: Longest period of the beat emphasis function, in frames of 512 samples (about 6 s).
EMPHASIS_PERIODS = 512

#: Values that are correlated in one call, which needs several times their memory.
VALUES_AT_ONCE = 1 << 18

#: The moving average of the beat emphasis function spans this many frames.
EMPHASIS_SPAN = 17


@kernel
def rising(levels):  # type: ignore[no-untyped-def]
    """Half-wave rectified first difference; the first value is 0."""
    out = np.zeros_like(levels)
    for t in range(1, levels.shape[0]):
        out[t] = max(levels[t] - levels[t - 1], ZERO)
    return out


@kernel
def rising_sum(bands):  # type: ignore[no-untyped-def]
    """Spectral flux in L1 norm of the rises only (Ellis 2007), bands in dB, shape (frames, bands)."""
    out = np.zeros(bands.shape[0], np.float32)
    for t in range(1, bands.shape[0]):
        total = ZERO
        for band in range(bands.shape[1]):
            total += max(bands[t, band] - bands[t - 1, band], ZERO)
        out[t] = total
    return out


def amplitude_db(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """20·log10, -200 below 1e-10."""
    floored = np.maximum(values, np.float32(1e-10))
    return np.where(values < 1e-10, np.float32(-200), 2 * (np.float32(10) * np.log10(floored)))


@kernel
def information_gain(magnitudes, low, high, out):  # type: ignore[no-untyped-def]
    """Information gain between the five frames before and the five after (Hainsworth, Macleod 2003).

    Σ over bins of max(0, log2(after / before)), both weighted sums of magnitudes. The logarithm is taken of
    products of up to 15 ratios, not of each.

    Parameters
    ----------
    magnitudes : ndarray of float32, shape (at least frames + 10, bins)
        Row t + 10 is frame t; the ten rows before the first are those of earlier frames or zeros.
    low, high : int
        First bin and the one after the last.
    out : ndarray of float32, shape (frames,)
        Written; value t is centred on frame t - 5.
    """
    weights = INFOGAIN_WEIGHTS
    width = high - low
    before = np.empty(width, np.float32)
    after = np.empty(width, np.float32)
    products = np.empty(INFOGAIN_LANES)
    for t in range(out.shape[0]):
        before[:] = ZERO
        after[:] = ZERO
        for i in range(5):
            add_weighted(before, magnitudes[t + i, low:high], weights[4 - i])
            add_weighted(after, magnitudes[t + 6 + i, low:high], weights[i])
        out[t] = log2_of_rises(before, after, products)


@subroutine
def log2_of_rises(before, after, products):  # type: ignore[no-untyped-def]
    """Σ max(0, log2(after / before)); 0 before counts as 1, 0 after as the float32 epsilon."""
    width = before.shape[0]
    for k in range(width):
        old = before[k] if before[k] != ZERO else ONE
        new = after[k] if after[k] != ZERO else EPSILON
        before[k] = max(new / old, ONE)
    lanes = products.shape[0]
    products[:] = 1.0
    whole = width - width % lanes
    for k in range(0, whole, lanes):
        for lane in range(lanes):
            products[lane] *= before[k + lane]
    total = 0.0
    for lane in range(lanes):
        total += np.log2(products[lane])
    for k in range(whole, width):
        total += np.log2(np.float64(before[k]))
    if np.isfinite(total):
        return total
    total = 0.0
    for k in range(width):
        total += np.log2(np.float64(before[k]))
    return total


def beat_emphasis(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Beat emphasis function (Davies, Plumbley, Eck 2009) from onset functions in 40 gammatone bands.

    Parameters
    ----------
    bands : ndarray of float32, shape (frames, 40)
        Squared complex spectral difference in each band; overwritten.

    Returns
    -------
    ndarray of float32, shape (frames,)
    """
    scale_to_unit_variance(bands)
    peaks = subtract_moving_average(bands)
    weights = comb_salience(unbiased_correlation(peaks), rayleigh(EMPHASIS_PERIODS))
    if weights.max() != 0:
        weights /= weights.max()
    emphasis: NDArray[np.float32] = weigh_bands(peaks, weights, len(bands))
    return emphasis


def unbiased_correlation(signals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unbiased autocorrelation of each row for the lags of all periods; 0 beyond the signal's length."""
    length = signals.shape[1]
    lags = min(length, EMPHASIS_PERIODS)
    size = scipy.fft.next_fast_len(length + lags, real=True)
    out = np.zeros((len(signals), EMPHASIS_PERIODS), np.float32)
    at_once = max(1, VALUES_AT_ONCE // size)
    for first in range(0, len(signals), at_once):
        spectrum = scipy.fft.rfft(signals[first : first + at_once], size)
        correlation = scipy.fft.irfft(np.square(spectrum.real) + np.square(spectrum.imag), size)[:, :lags]
        out[first : first + at_once, :lags] = correlation
    out[:, :lags] /= np.arange(length, length - lags, -1, dtype=np.float32)
    return out


@kernel
def scale_to_unit_variance(bands):  # type: ignore[no-untyped-def]
    """Divide each column by its standard deviation, in place; sums run in float32, frame by frame."""
    frames, width = bands.shape
    count = np.float32(frames)
    totals = np.zeros(width, np.float32)
    for t in range(frames):
        for b in range(width):
            totals[b] += bands[t, b]
    means = totals / count
    squares = np.zeros(width, np.float32)
    for t in range(frames):
        for b in range(width):
            deviation = bands[t, b] - means[b]
            squares[b] += deviation * deviation
    for b in range(width):
        squares[b] = np.sqrt(squares[b] / count)
        if not squares[b] > ZERO:
            squares[b] = ONE
    for t in range(frames):
        for b in range(width):
            bands[t, b] /= squares[b]


@kernel
def subtract_moving_average(bands):  # type: ignore[no-untyped-def]
    """Keep what exceeds the mean of a frame and the 16 that follow; the last one repeats beyond the end.

    Parameters
    ----------
    bands : ndarray of float32, shape (frames, bands)

    Returns
    -------
    ndarray of float32, shape (bands, frames + 16)
        Half-wave rectified. The 16 repeated frames at the end stay as they are: the reference correlates
        them too.
    """
    frames, width = bands.shape
    out = np.empty((width, frames + EMPHASIS_SPAN - 1), np.float32)
    share = np.float32(1 / EMPHASIS_SPAN)
    average = np.empty(width, np.float32)
    for t in range(frames):
        average[:] = ZERO
        for i in range(EMPHASIS_SPAN):
            row = bands[min(t + i, frames - 1)]
            for b in range(width):
                average[b] += share * row[b]
        for b in range(width):
            out[b, t] = max(bands[t, b] - average[b], ZERO)
    for b in range(width):
        out[b, frames:] = bands[frames - 1, b]
    return out


@kernel
def comb_salience(correlation, preference):  # type: ignore[no-untyped-def]
    """Largest output of four-element comb filters over an autocorrelation (Davies, Plumbley 2007).

    Parameters
    ----------
    correlation : ndarray of float32, shape (bands, lags)
        Unbiased autocorrelation, lags 0 to the longest period.
    preference : ndarray of float32, shape (lags,)
        Tempo preference curve; entry i weighs the period i + 1.

    Returns
    -------
    ndarray of float32, shape (bands,)
    """
    bands, lags = correlation.shape
    longest = (lags - 3) // 4 - 1
    out = np.zeros(bands, np.float32)
    for b in range(bands):
        for period in range(3, longest):
            total = ZERO
            for comb in range(1, 5):
                width = np.float32(2 * comb - 1)
                for region in range(1 - comb, comb):
                    total += preference[period] * correlation[b, period * comb + region] / width
            out[b] = max(out[b], total)
    return out


@kernel
def weigh_bands(bands, weights, frames):  # type: ignore[no-untyped-def]
    """Σ weight · band over the bands that weigh at least as much as band 24.

    Davies et al. (2009) keep the top 40 % of the bands; the reference takes the weight at place 24 of
    40 in the order of frequency where the order of size was meant.

    Parameters
    ----------
    bands : ndarray of float32, shape (bands, frames or more)
    weights : ndarray of float32, shape (bands,)
    frames : int

    Returns
    -------
    ndarray of float32, shape (frames,)
    """
    out = np.zeros(frames, np.float32)
    for b in range(weights.shape[0]):
        if weights[b] >= weights[24]:
            add_weighted(out, bands[b, :frames], weights[b])
    return out
