"""Small numeric definitions that the three feature families share.

What belongs here: sample rate, framing, entropy, moments. What does not: anything that knows a feature's
name.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAMPLE_RATE_HZ = 44_100

#: Probabilities are clipped here before the logarithm (CONTRACT §2).
SMALLEST_PROBABILITY = 1e-12


def whole_frames(samples: NDArray[np.float32], size: int, hop: int) -> NDArray[np.float32]:
    """Cut a signal into the frames that lie wholly inside it.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        The signal; n ≥ `size`.
    size, hop : int
        Frame length and distance between frame starts, in samples.

    Returns
    -------
    ndarray of float32, shape (1 + (n - size) // hop, size)
        A read-only view: row i starts at sample i · hop. Nothing is padded at either end.
    """
    return np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]


def entropy_bits(weights: ArrayLike) -> float | None:
    """Shannon entropy of non-negative weights, in bits.

    Parameters
    ----------
    weights : array_like
        Any shape; normalised here to sum 1.

    Returns
    -------
    float or None
        None when the weights sum to zero and hence describe no distribution.
    """
    flat = np.asarray(weights, dtype=np.float64).ravel()
    total = flat.sum()
    if total == 0:
        return None
    probabilities = np.clip(flat / total, SMALLEST_PROBABILITY, None)
    return float(-np.sum(probabilities * np.log2(probabilities)))


def mean(values: NDArray[Any] | list[float]) -> float:
    """Return the mean over all elements, accumulated in float64."""
    return float(np.mean(values, dtype=np.float64))


def std(values: NDArray[Any] | list[float]) -> float:
    """Return the population standard deviation over all elements, accumulated in float64."""
    return float(np.std(values, dtype=np.float64))
