"""Beat periods of an onset function: comb filters over its autocorrelation, then a Viterbi path.

The likelihoods are dithered with the numbers that C's rand() of glibc gives after srand(1), because the
reference calls it, seeded so. On another C library the reference draws other numbers, and where a track is
silent its beats then differ from these, which are the same everywhere.

References
----------
.. [1] Davies, Plumbley. "Context-dependent beat tracking of musical audio". IEEE TASLP 15(3), 2007.
"""

from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.float32 import ZERO, add_weighted, gaussian_density, normalize_sum, rayleigh

#: Onset functions, 44100 / 512 values a second, are analysed in frames of 6 s every 1.5 s.
FUNCTION_FRAME, FUNCTION_HOP = 512, 128

#: Values to either side that a local mean spans.
SMOOTHING_HALF = 8

#: Periods (in values, less one) of 208 and 40 BPM.
SHORTEST_PERIOD, LONGEST_PERIOD = 24, 127

#: Noise at most, as a share of the largest likelihood.
DITHER = 0.0001

RAND_MAX = 2147483647


def frame_correlation(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unbiased autocorrelation of each row."""
    size = frames.shape[1]
    spectrum = scipy.fft.rfft(frames, 2 * size)
    correlation = scipy.fft.irfft(np.square(spectrum.real) + np.square(spectrum.imag), 2 * size)[:, :size]
    return np.ascontiguousarray(correlation / np.arange(size, 0, -1, dtype=np.float32))


@cache
def period_model() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Preference of 128 beat periods, and the weights of their changes: a Gaussian of 8 values."""
    periods = FUNCTION_HOP
    preference = rayleigh(periods).copy()
    normalize_sum(preference)
    change = np.subtract.outer(np.arange(periods), np.arange(periods))
    density = gaussian_density(8, 1, 1)
    mean_index = len(density) // 2
    allowed = (np.arange(periods) >= 27) & (np.arange(periods) <= 107)
    near = (np.abs(change) <= mean_index) & np.logical_and.outer(allowed, allowed)
    transitions = np.zeros((periods, periods), np.float32)
    transitions[near] = density[change[near] + mean_index]
    return preference, transitions


@cache
def dither_noise(count: int) -> NDArray[np.float32]:
    """First numbers of the dither sequence, which is the same for every track."""
    noise: NDArray[np.float32] = c_rand(count)
    return noise


@kernel
def c_rand(count):  # type: ignore[no-untyped-def]
    """Draw the first numbers of C's rand() after srand(1): glibc's additive feedback generator.

    Parameters
    ----------
    count : int

    Returns
    -------
    ndarray of float32, shape (count,)
        Integers from 0 to 2³¹ - 1, rounded to float32.
    """
    state = np.empty(count + 344, np.uint32)
    seed = np.int64(1)
    for i in range(31):
        state[i] = seed
        seed = seed * 16807 % RAND_MAX
    for i in range(31, 34):
        state[i] = state[i - 31]
    for i in range(34, count + 344):
        state[i] = state[i - 31] + state[i - 3]
    out = np.empty(count, np.float32)
    for i in range(count):
        out[i] = np.float32(state[i + 344] >> np.uint32(1))
    return out


@subroutine
def above_local_mean(values, half):  # type: ignore[no-untyped-def]
    """Half-wave rectified excess over the mean of 2·half + 1 values around; the ends repeat outwards."""
    size = values.shape[0]
    padded = np.empty(size + 2 * half, np.float32)
    padded[:half] = values[0]
    padded[half : half + size] = values
    padded[half + size :] = values[size - 1]
    share = np.float32(1 / (2 * half + 1))
    average = np.zeros(size, np.float32)
    for i in range(2 * half + 1):
        add_weighted(average, padded[i : i + size], share)
    for t in range(size):
        average[t] = max(values[t] - average[t], ZERO)
    return average


@kernel
def function_frames(function):  # type: ignore[no-untyped-def]
    """Frames of 512 values every 128 of the peaks of an onset function; the last is padded with zeros."""
    peaks = above_local_mean(function, SMOOTHING_HALF)
    size = peaks.shape[0]
    count = 1
    while (count - 1) * FUNCTION_HOP + FUNCTION_FRAME < size:
        count += 1
    out = np.zeros((count, FUNCTION_FRAME), np.float32)
    for row in range(count):
        piece = peaks[row * FUNCTION_HOP : row * FUNCTION_HOP + FUNCTION_FRAME]
        out[row, : piece.shape[0]] = piece
    return out


@kernel
def period_likelihoods(correlation, preference):  # type: ignore[no-untyped-def]
    """Likelihood of each beat period in each frame (Davies, Plumbley 2007): comb filters, threshold, range.

    Parameters
    ----------
    correlation : ndarray of float32, shape (frames, 512)
        Unbiased autocorrelation.
    preference : ndarray of float32, shape (128,)
        Tempo preference; entry i is for the period i + 1.

    Returns
    -------
    ndarray of float32, shape (frames, 128)
    """
    frames = correlation.shape[0]
    out = np.zeros((frames, FUNCTION_HOP), np.float32)
    for t in range(frames):
        combed = np.zeros(FUNCTION_HOP, np.float32)
        row = correlation[t]
        for period in range(3, 127):
            total = ZERO
            for comb in range(1, 5):
                width = np.float32(2 * comb - 1)
                for region in range(1 - comb, comb):
                    total += preference[period] * row[(period + 1) * comb - 1 + region] / width
            combed[period] = total
        peaks = above_local_mean(combed, SMOOTHING_HALF)
        out[t, SHORTEST_PERIOD : LONGEST_PERIOD + 1] = peaks[SHORTEST_PERIOD : LONGEST_PERIOD + 1]
        normalize_sum(out[t])
    return out


@kernel
def dither(likelihoods, noise):  # type: ignore[no-untyped-def]
    """Add noise of at most 0.0001 of the largest value, in place, so that silence has a period too."""
    peak = likelihoods.max()
    frames, periods = likelihoods.shape
    for t in range(frames):
        for i in range(periods):
            added = DITHER * np.float64(peak) * np.float64(noise[t * periods + i]) / RAND_MAX
            likelihoods[t, i] = np.float32(np.float64(likelihoods[t, i]) + added)


@kernel
def likeliest_periods(likelihoods, preference, transitions):  # type: ignore[no-untyped-def]
    """Viterbi path through the beat periods.

    Parameters
    ----------
    likelihoods : ndarray of float32, shape (frames, periods)
    preference : ndarray of float32, shape (periods,)
        Prior of the first frame.
    transitions : ndarray of float32, shape (periods, periods)
        Row j: weights of coming to j from each period; zero outside a band around the diagonal.

    Returns
    -------
    ndarray of int64, shape (frames,)
    """
    frames, periods = likelihoods.shape
    previous = np.zeros((frames, periods), np.int64)
    score = preference * likelihoods[0]
    normalize_sum(score)
    new = np.empty(periods, np.float32)
    for t in range(1, frames):
        for j in range(periods):
            best, source = ZERO, 0
            for i in range(max(0, j - 32), min(periods, j + 33)):
                candidate = score[i] * transitions[j, i]
                if candidate > best:
                    best, source = candidate, i
            new[j] = best * likelihoods[t, j]
            previous[t, j] = source
        normalize_sum(new)
        score[:] = new
    path = np.empty(frames, np.int64)
    path[-1] = np.argmax(score)
    for t in range(frames - 2, -1, -1):
        path[t] = previous[t + 1, path[t + 1]]
    return path
