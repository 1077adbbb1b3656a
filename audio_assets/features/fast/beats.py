"""Beat times: one sequence for each onset function, then the one that the others agree with most.

References
----------
.. [1] Zapata, Davies, Gómez. "Multi-feature beat tracking". IEEE/ACM TASLP 22(4), 2014.
.. [2] Degara et al. "Reliability-informed beat tracking of musical signals". IEEE TASLP 20(1), 2012.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.beat_agreement import beat_error_edges, most_agreeing
from audio_assets.features.fast.beat_periods import (
    dither,
    dither_noise,
    frame_correlation,
    function_frames,
    likeliest_periods,
    period_likelihoods,
    period_model,
)
from audio_assets.features.fast.float32 import EPSILON, ONE, ZERO, gaussian_density

#: Rate of the onset functions, time from one value to the next, and from one period to the next.
FUNCTION_RATE_HZ = np.float32(44100 / 512)

RESOLUTION_S = np.float32(1 / np.float64(FUNCTION_RATE_HZ))

PERIOD_HOP_S = np.float32(np.float32(512 * 512 / 44100) / 4)

#: Balance of observation and transition, and standard deviation of the time between beats.
ALPHA = np.float32(0.5)

INTERVAL_STD_S = np.float32(0.025)

LARGEST = np.float32(np.finfo(np.float32).max)

#: Onset functions at hop 512; the others are at 1024.
FINE_FUNCTIONS = ("infogain", "beat_emphasis")

#: Order in which beat sequences are compared; of equals the first wins.
CANDIDATES = ("complex", "rms", "melflux", "beat_emphasis", "infogain")

#: Beats before this time do not vote.
FIRST_VOTING_BEAT_S = np.float32(5)


@cache
def error_edges() -> NDArray[np.float32]:
    """Edges of the histogram of beat errors."""
    edges: NDArray[np.float32] = beat_error_edges()
    return edges


def track_beats(functions: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Beat times in seconds by the most agreeing of five beat sequences; empty below two beats.

    Parameters
    ----------
    functions : dict of str to ndarray of float32
        As in `OnsetScan`; their order is that in which the dither is drawn.

    Returns
    -------
    ndarray of float32, shape (beats,)
    """
    ticks = {}
    drawn = 0
    for name, function in functions.items():
        ticks[name], used = follow_beats(function, 1 if name in FINE_FUNCTIONS else 2, drawn)
        drawn += used
    candidates = tuple(ticks[name] for name in CANDIDATES)
    votes = tuple(sequence[sequence >= FIRST_VOTING_BEAT_S] for sequence in candidates)
    beats_s: NDArray[np.float32] = candidates[most_agreeing(votes, error_edges())]
    return beats_s if len(beats_s) >= 2 else beats_s[:0]


def follow_beats(function: NDArray[np.float32], factor: int, drawn: int) -> tuple[NDArray[np.float32], int]:
    """Beat times of one onset function (Degara et al. 2012, periods by Davies and Plumbley 2007).

    Parameters
    ----------
    function : ndarray of float32, shape (n,)
        Non-negative, at hop 512 · `factor`.
    factor : int
        1 or 2; 2 interpolates to hop 512.
    drawn : int
        Random numbers drawn before.

    Returns
    -------
    beats_s : ndarray of float32, shape (beats,)
    used : int
        Random numbers used.
    """
    values = normalized_function(function, factor)
    preference, transitions = period_model()
    likelihoods = period_likelihoods(frame_correlation(function_frames(values)), preference)
    used = likelihoods.size
    noise = dither_noise(1 << (drawn + used).bit_length())  # few lengths, so that few are kept
    dither(likelihoods, noise[drawn : drawn + used])
    path = likeliest_periods(likelihoods, preference, transitions)
    periods_s = (path + 1).astype(np.float32) / FUNCTION_RATE_HZ
    ends_s = np.arange(1, len(path) + 1, dtype=np.float32) * PERIOD_HOP_S
    beats_s: NDArray[np.float32] = decode_beats(values, periods_s, ends_s, interval_density(factor))
    return beats_s, used


@kernel
def normalized_function(function, factor):  # type: ignore[no-untyped-def]
    """Scale to maximum 1 and interpolate linearly by a factor of 1 or 2."""
    peak = function.max()
    scaled = function / peak if peak != ZERO else function.copy()
    if factor == 1:
        return scaled
    out = np.empty(2 * scaled.shape[0] - 1, np.float32)
    for i in range(scaled.shape[0]):
        out[2 * i] = scaled[i]
    for i in range(scaled.shape[0] - 1):
        out[2 * i + 1] = scaled[i] + (scaled[i + 1] - scaled[i]) / np.float32(2)
    return out


@cache
def interval_density(factor: int) -> NDArray[np.float32]:
    """Density of the time between beats around the period, one value in 512 samples."""
    return gaussian_density(float(INTERVAL_STD_S), float(RESOLUTION_S), 0.01 / factor)


@subroutine
def beat_hazard(period_s, gaussian, states):  # type: ignore[no-untyped-def]
    """Log probabilities of a beat and of none after each time since the last beat, times alpha.

    Degara et al. (2012), section III: the time between beats is Gaussian around the period. State i means
    that i + 1 steps have passed.

    Parameters
    ----------
    period_s : float32
    gaussian : ndarray of float32
        Density of the time between beats around its mean, one value a step.
    states : int

    Returns
    -------
    tuple of two ndarrays of float32, shape (states,)
        alpha·log P(beat) and alpha·log P(no beat).
    """
    centre = np.int64(np.floor(np.float32(period_s / RESOLUTION_S - ONE) + np.float32(0.5)))
    shift = gaussian.shape[0] // 2 - centre
    beat, wait = np.empty(states, np.float32), np.empty(states, np.float32)
    survived = ZERO
    for i in range(states):
        j = i + shift
        density = gaussian[j] if 0 <= j < gaussian.shape[0] else ZERO
        hazard = density if i == 0 else np.exp(np.log(density) - survived)
        if hazard > ONE:
            hazard = ONE
        stay = ONE - hazard
        beat[i] = np.log(hazard) * ALPHA
        wait[i] = np.log(stay) * ALPHA
        survived += np.log(stay)
    return beat, wait


@kernel
def decode_beats(function, periods_s, period_ends_s, gaussian):  # type: ignore[no-untyped-def]
    """Beat times by a hidden Markov model of the time since the last beat (Degara et al. 2012).

    Parameters
    ----------
    function : ndarray of float32, shape (n,)
        Onset function, 0 to 1, at 44100 / 512 values a second.
    periods_s, period_ends_s : ndarray of float32, shape (frames,)
        Beat periods and the times until which they hold, in seconds.
    gaussian : ndarray of float32
        As `beat_hazard`.

    Returns
    -------
    ndarray of float32, shape (beats,)
        Seconds.
    """
    size = function.shape[0]
    longest = np.float32(periods_s.max() + np.float32(3) * INTERVAL_STD_S)
    states = 0
    time = RESOLUTION_S
    while time <= longest:
        states += 1
        time = np.float32(time + RESOLUTION_S)
    sources = np.empty(size, np.int64)
    cost, old = np.full(states, LARGEST), np.full(states, LARGEST)
    old[0] = ZERO
    current = 0
    beat, wait = beat_hazard(periods_s[0], gaussian, states)
    first, last = finite_span(beat)
    for t in range(size):
        value = function[t] if function[t] != ZERO else EPSILON
        likely = np.float32(0.99 * np.float64(value))
        on_beat = (ONE - ALPHA) * np.log(likely)
        off_beat = (ONE - ALPHA) * np.log(np.float32(1.0 - np.float64(likely)))
        best = LARGEST
        source = -1
        for i in range(first, last):
            through = old[i] - beat[i]
            if through < best:
                best, source = through, i
        sources[t] = source
        cost[0] = best - on_beat
        for i in range(1, states):
            cost[i] = old[i - 1] - wait[i - 1] - off_beat
        cost, old = old, cost
        now = np.float32(np.float32(t + 1) * RESOLUTION_S)
        moved = current
        while moved + 1 < period_ends_s.shape[0] and period_ends_s[moved + 1] <= now:
            moved += 1
        if moved != current:
            if periods_s[moved] != periods_s[current]:
                beat, wait = beat_hazard(periods_s[moved], gaussian, states)
                first, last = finite_span(beat)
            current = moved
    return trace_beats(sources, np.argmin(old))


@subroutine
def finite_span(values):  # type: ignore[no-untyped-def]
    """First index of a finite value and the index after the last."""
    first, last = values.shape[0], 0
    for i in range(values.shape[0]):
        if np.isfinite(values[i]):
            first, last = min(first, i), i + 1
    return first, last


@subroutine
def trace_beats(sources, state):  # type: ignore[no-untyped-def]
    """Follow the states backwards from the last frame's; state 0 is a beat."""
    beats = np.empty(sources.shape[0], np.float32)
    count = 0
    for t in range(sources.shape[0] - 1, -1, -1):
        if state == 0:
            beats[count] = np.float32(np.float32(t) * RESOLUTION_S)
            count += 1
            state = max(sources[t], 0)
        else:
            state -= 1
    return beats[:count][::-1].copy()
