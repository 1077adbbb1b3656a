"""Onset strength, and tempo from the mean tempogram without tracking beats.

References
----------
.. [1] Ellis. "Beat tracking by dynamic programming". J. New Music Research 36(1), 2007.
"""

from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ, mean, std
from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.float32 import ZERO
from audio_assets.features.fast.ranks import select
from audio_assets.features.fast.spectra import HOP
from audio_assets.features.records import Columns

#: 8 s in frames of 512 samples.
TEMPOGRAM_WINDOW = 689

START_BPM, MAX_BPM = 120, 320

#: Lags of the tempogram that are followed; a constant, so that the loops over them run in vectors.
LAGS = 256


def onset_columns(mean_rises_db: NDArray[np.float32], median_rises_db: NDArray[np.float32]) -> Columns:
    """Onset strength and tempo from the mean and median rises of `onset_envelopes`."""
    strength = centred(mean_rises_db)
    return {
        "tempo_bpm": tempo_bpm(centred(median_rises_db)),
        "onset_strength_mean": mean(strength),
        "onset_strength_std": std(strength),
    }


def centred(rises: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shift by the frame's half and the difference's lag, at the length of the spectrogram."""
    return np.concatenate([np.zeros(3, np.float32), rises])[: len(rises) + 1]


def tempo_bpm(envelope: NDArray[np.float32]) -> float | None:
    """Tempo of highest mean tempogram under a log-normal prior around 120 BPM (Ellis 2007).

    Parameters
    ----------
    envelope : ndarray of float32, shape (frames,)
        Onset strength at hop 512.

    Returns
    -------
    float or None
        BPM of a whole lag; None without onsets.
    """
    if not envelope.any():
        return None
    padded = np.pad(envelope, TEMPOGRAM_WINDOW // 2, mode="linear_ramp", end_values=0).astype(np.float64)
    bpm, log_prior = tempo_prior()
    tempogram = mean_tempogram(padded, padded[::-1].copy(), *tempogram_tables())
    scores = np.log1p(1e6 * np.maximum(tempogram, 0)) + log_prior[:LAGS]
    # no lag can score more than log1p(1e6) above its prior: mostly that settles the long ones
    if scores.max() <= np.log1p(1e6) + log_prior[LAGS]:
        scores = np.log1p(1e6 * np.maximum(whole_tempogram(padded), 0)) + log_prior
    return float(bpm[np.argmax(scores)])


@cache
def tempo_prior() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tempi of the lags 0 to 688, and the logarithm of their prior."""
    with np.errstate(divide="ignore"):
        bpm = 60.0 * SAMPLE_RATE_HZ / (HOP * np.arange(TEMPOGRAM_WINDOW))
    log_prior = -0.5 * (np.log2(bpm) - np.log2(START_BPM)) ** 2
    log_prior[bpm >= MAX_BPM] = -np.inf
    return bpm, log_prior


def whole_tempogram(padded: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `mean_tempogram`, for all lags, window by window: the rare slow way."""
    size = TEMPOGRAM_WINDOW
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)
    total = np.zeros(size)
    for start in range(0, len(windows), 256):
        spectrum = scipy.fft.rfft(windows[start : start + 256] * window, 1400)
        correlation = scipy.fft.irfft(np.square(spectrum.real) + np.square(spectrum.imag), 1400)[:, :size]
        silent = correlation[:, 0] <= 0
        correlation[silent, 0] = 1
        total += np.where(silent[:, None], 0, correlation / correlation[:, :1]).sum(axis=0)
    mean_of_windows: NDArray[np.float64] = total / len(windows)
    return mean_of_windows


@kernel
def onset_envelopes(log_mel, means, medians):  # type: ignore[no-untyped-def]
    """Mean and median over mel bands of the rise in dB since the previous frame.

    Parameters
    ----------
    log_mel : ndarray of float64, shape (frames, bands)
        Levels in dB.
    means, medians : ndarray of float32, shape (frames - 1,)
        Written.
    """
    frames, bands = log_mel.shape
    rises = np.empty(bands, np.float32)
    for t in range(frames - 1):
        total = ZERO
        rising_bands = 0
        for b in range(bands):
            rise = log_mel[t + 1, b] - log_mel[t, b]
            if rise > ZERO:
                rises[rising_bands] = rise
                rising_bands += 1
                total += rise
        means[t] = total / np.float32(bands)
        medians[t] = median_with_zeros(rises[:rising_bands], bands)


@subroutine
def median_with_zeros(positive, count):  # type: ignore[no-untyped-def]
    """Median of `count` values of which all but the given positive ones are 0."""
    upper = count // 2 - (count - positive.shape[0])
    if upper < 0:
        return ZERO
    if count % 2:
        return select(positive, upper)
    above = select(positive, upper)
    below = ZERO
    for i in range(upper):  # after `select` the smaller values stand in front
        below = max(below, positive[i])
    return (below + above) / np.float32(2)


@kernel(fastmath={"contract"})
def mean_tempogram(envelope, backwards, window, turn, tables):  # type: ignore[no-untyped-def]
    """Mean over time of the normalised local autocorrelation (tempogram) of an onset envelope.

    The product of two Hann windows is a sum of five cosines, so that with q[n] = x[t + n]·x[t + n + k] each
    lag needs only the sliding sums of q, q·exp(iθn) and q·exp(2iθn), θ = 2π/size: no transform a window.

    Parameters
    ----------
    envelope : ndarray of float64, shape (frames + size - 1,)
        Padded at both ends, so that window t starts at sample t.
    backwards : ndarray of float64
        The same, reversed.
    window, turn, tables : ndarray of float64
        `tempogram_tables`.

    Returns
    -------
    ndarray of float64, shape (256,)
        Each window's autocorrelation is divided by its value at lag 0; silent windows count as 0.
    """
    size = window.shape[0]
    loudest = np.max(envelope) ** 2
    sums = np.zeros(5 * LAGS)
    local = np.empty(LAGS)
    out = np.zeros(LAGS)
    frames = envelope.shape[0] - size + 1
    for n in range(size):  # the first window, as if its values entered one by one
        add_products(sums, tables, envelope[n], backwards[envelope.shape[0] - 1 - n :], min(n + 1, LAGS))
        if n + 1 < size:
            turn_back(sums, turn)
    for t in range(frames):
        correlate_windowed(sums, tables, local)
        if local[0] > 1e-7 * loudest:
            out += local / local[0]
        else:  # the sliding sums no longer carry enough digits
            exact = direct_correlation(envelope[t : t + size] * window)
            if exact[0] > 0:
                out += exact / exact[0]
        if t + 1 < frames:
            remove_products(sums, envelope[t], envelope[t : t + LAGS])
            turn_back(sums, turn)
            newest_at = t + size
            add_products(
                sums, tables, envelope[newest_at], backwards[envelope.shape[0] - 1 - newest_at :], LAGS
            )
    return out / frames


@cache
def tempogram_tables() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Tables of `mean_tempogram`.

    Returns
    -------
    window : ndarray, shape (689,)
        Hann.
    turn : ndarray, shape (4,)
        cos and sin of θ and of 2θ.
    tables : ndarray, shape (6 · 256,)
        For each lag k cos and sin of θk, of θ(size - 1 - k), which is the angle of the entering product, and
        of twice that.
    """
    theta = 2 * np.pi / TEMPOGRAM_WINDOW
    window = 0.5 - 0.5 * np.cos(theta * np.arange(TEMPOGRAM_WINDOW))
    newest = theta * (TEMPOGRAM_WINDOW - 1 - np.arange(LAGS))
    angles = (theta * np.arange(LAGS), newest, 2 * newest)
    turn = np.array([np.cos(theta), np.sin(theta), np.cos(2 * theta), np.sin(2 * theta)])
    return window, turn, np.concatenate([part for angle in angles for part in (np.cos(angle), np.sin(angle))])


@subroutine(fastmath={"contract"})
def add_products(sums, tables, newest, before, lags):  # type: ignore[no-untyped-def]
    """Let the products of the newest value with those before it (itself first) enter the sums."""
    for k in range(lags):
        product = newest * before[k]
        sums[k] += product
        sums[k + LAGS] += product * tables[k + 2 * LAGS]
        sums[k + 2 * LAGS] += product * tables[k + 3 * LAGS]
        sums[k + 3 * LAGS] += product * tables[k + 4 * LAGS]
        sums[k + 4 * LAGS] += product * tables[k + 5 * LAGS]


@subroutine(fastmath={"contract"})
def remove_products(sums, oldest, after):  # type: ignore[no-untyped-def]
    """Let the products of the oldest value with those after it (itself first), at angle 0, leave the sums."""
    for k in range(LAGS):
        product = oldest * after[k]
        sums[k] -= product
        sums[k + LAGS] -= product
        sums[k + 3 * LAGS] -= product


@subroutine(fastmath={"contract"})
def turn_back(sums, turn):  # type: ignore[no-untyped-def]
    """Move the origin of the angles on by one sample."""
    c_1, s_1, c_2, s_2 = turn[0], turn[1], turn[2], turn[3]
    for k in range(LAGS):
        a, b = sums[k + LAGS], sums[k + 2 * LAGS]
        sums[k + LAGS], sums[k + 2 * LAGS] = a * c_1 + b * s_1, b * c_1 - a * s_1
        a, b = sums[k + 3 * LAGS], sums[k + 4 * LAGS]
        sums[k + 3 * LAGS], sums[k + 4 * LAGS] = a * c_2 + b * s_2, b * c_2 - a * s_2


@subroutine(fastmath={"contract"})
def correlate_windowed(sums, tables, out):  # type: ignore[no-untyped-def]
    """Four times the autocorrelation of the Hann-windowed segment, from the sliding sums."""
    for k in range(LAGS):
        c, s = tables[k], tables[k + LAGS]
        first = sums[k + LAGS] * (1 + c) - sums[k + 2 * LAGS] * s
        second = sums[k + 3 * LAGS] * c - sums[k + 4 * LAGS] * s
        out[k] = (1 + 0.5 * c) * sums[k] - first + 0.5 * second


@subroutine
def direct_correlation(segment):  # type: ignore[no-untyped-def]
    """Autocorrelation for the lags 0 to 255 by its definition."""
    out = np.zeros(LAGS)
    for k in range(LAGS):
        for n in range(segment.shape[0] - k):
            out[k] += segment[n] * segment[n + k]
    return out
