"""One vector for a track out of its windows' vectors.

What belongs here: the pooling rule and what makes its result invalid. What does not: centring on a
library's mean (``normalisation``), which needs every track.
"""

import numpy as np
import numpy.typing as npt

from audio_assets.failures import FailureCode, TrackFailure

#: At or below this length a vector has no direction, and is refused instead of divided by.
ZERO_NORM_LIMIT = 1e-12


def pool_windows(window_embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean direction of a track's windows.

    Each window is brought to unit length before the mean, so that none counts for more than another.

    Parameters
    ----------
    window_embeddings : np.ndarray, shape (k, 512), float32
        One vector a window.

    Returns
    -------
    np.ndarray, shape (512,), float32
        Unit length.

    Raises
    ------
    TrackFailure
        NON_FINITE_RESULT when a value is NaN or infinite; ZERO_NORM when a window, or the mean of all,
        has no direction.
    """
    vectors = window_embeddings.astype(np.float64)
    if not np.isfinite(vectors).all():
        raise TrackFailure(FailureCode.NON_FINITE_RESULT, "the model gave a NaN or infinite value")
    mean = _unit(vectors).mean(axis=0, keepdims=True)
    pooled: npt.NDArray[np.float32] = _unit(mean)[0].astype(np.float32)
    return pooled


def row_norms(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Euclidean length of each row, shape (n, 1), summed in float64.

    As ``np.linalg.norm`` without its two copies of the vectors, which take longer than the sum.
    """
    squares: npt.NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return np.sqrt(squares)[:, None]


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Not `row_norms`, which may differ in the last bit: rows of one settings version are to be the same bits.
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (norms <= ZERO_NORM_LIMIT).any():
        message = f"an embedding of length {norms.min():.1e} (limit {ZERO_NORM_LIMIT:.0e}) has no direction"
        raise TrackFailure(FailureCode.ZERO_NORM, message)
    unit: npt.NDArray[np.float64] = vectors / norms
    return unit
