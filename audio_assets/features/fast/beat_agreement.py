"""How well beat sequences agree with each other, by which one of them is chosen.

References
----------
.. [1] Davies, Degara, Plumbley. "Measuring the performance of beat tracking algorithms using a beat error
   histogram". IEEE Signal Processing Letters 18(3), 2011.
.. [2] Zapata, Davies, Gómez. "Multi-feature beat tracking". IEEE/ACM TASLP 22(4), 2014.
"""

import numpy as np

from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.float32 import ONE, ZERO

ERROR_BINS = 40


@kernel
def beat_error_edges():  # type: ignore[no-untyped-def]
    """Upper edges of the 40 bins of relative beat errors, the outermost being half as wide, float32."""
    delta = np.float32(1 / (ERROR_BINS - 1))
    centres = [np.float32(-0.5)]
    bin_centre = np.float32(-0.5 + 1.5 * np.float64(delta))
    while np.float64(bin_centre) <= 0.5 - 1.5 * np.float64(delta):
        centres.append(bin_centre)
        bin_centre = np.float32(bin_centre + delta)
    centres.append(np.float32(0.5))
    edges = np.empty(len(centres) - 1, np.float32)
    for i in range(len(edges)):
        edges[i] = (centres[i] + centres[i + 1]) / np.float32(2)
    return edges


@subroutine
def nearest_tick(ticks, time, start):  # type: ignore[no-untyped-def]
    """Index of the tick nearest to a time, the earlier of two; those before `start` are farther."""
    best = start
    while best + 1 < ticks.shape[0] and abs(ticks[best + 1] - time) < abs(ticks[best] - time):
        best += 1
    return best


@subroutine
def beat_error_entropy(ticks, reference, edges):  # type: ignore[no-untyped-def]
    """Entropy in bits of the errors of `reference` beats relative to the intervals of `ticks`.

    Davies, Degara and Plumbley (2011), section II: the error of a beat is its distance to the nearest tick
    over the interval on its side, in [-0.5, 0.5), as a histogram of 40 bins that wraps around.

    Parameters
    ----------
    ticks, reference : ndarray of float32, shape (n,), (m,)
        Two beat sequences in seconds, ascending, at least two beats each.
    edges : ndarray of float32
        From `beat_error_edges`.

    Returns
    -------
    float32
    """
    counts = np.zeros(edges.shape[0] + 1, np.float32)
    half = np.float32(0.5)
    nearest = 0
    for i in range(reference.shape[0]):
        nearest = nearest_tick(ticks, reference[i], nearest)
        error = reference[i] - ticks[nearest]
        backwards = nearest == ticks.shape[0] - 1 or (nearest > 0 and error < ZERO)
        left = nearest - 1 if backwards else nearest
        interval = half * (ticks[left + 1] - ticks[left])
        relative = np.float32(0.5 * np.float64(error) / np.float64(interval))
        shifted = np.float64(relative) + 0.5
        relative = np.float32(shifted - np.floor(shifted) - 0.5)
        counts[np.searchsorted(edges, relative, side="right")] += ONE
    counts[0] += counts[-1]
    total = np.float32(reference.shape[0])
    entropy = ZERO
    for i in range(counts.shape[0] - 1):
        if counts[i] > ZERO:
            share = counts[i] / total
            entropy -= np.log2(share) * share
    return entropy


@subroutine
def agreement(one, other, edges):  # type: ignore[no-untyped-def]
    """Information gain of beat errors between two sequences: log2(40) less the worse entropy, in bits."""
    if one.shape[0] < 2 or other.shape[0] < 2:
        return ZERO
    worst = max(beat_error_entropy(other, one, edges), beat_error_entropy(one, other, edges))
    return np.float32(np.log2(float(ERROR_BINS)) - worst)


@kernel
def most_agreeing(candidates, edges):  # type: ignore[no-untyped-def]
    """Index of the beat sequence with the highest mean mutual agreement (Zapata, Davies, Gómez 2014).

    Parameters
    ----------
    candidates : tuple of ndarray of float32
        Beat times in seconds, ascending.
    edges : ndarray of float32
        From `beat_error_edges`.

    Returns
    -------
    int
        The first of equals.
    """
    count = len(candidates)
    gains = np.zeros((count, count), np.float32)
    for i in range(count):
        for j in range(i + 1, count):
            gains[i, j] = gains[j, i] = agreement(candidates[i], candidates[j], edges)
    best, best_mean = 0, np.float32(-1)
    for i in range(count):
        total = ZERO
        for j in range(i + 1, count):
            total += gains[i, j]
        for j in range(i):
            total += gains[i, j]
        if total / np.float32(count - 1) > best_mean:
            best, best_mean = i, total / np.float32(count - 1)
    return best
