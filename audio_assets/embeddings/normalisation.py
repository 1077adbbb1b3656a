"""From raw to normalised embeddings: minus the mean of the whole library, then unit length.

The mean is merged from per-batch sums, so that a library is centred without holding its raw vectors
in memory, and a removed batch can be left out by leaving out its sum.

What belongs here: the sums, the centring, the rows it leaves out. What does not: where sums and
vectors are stored, and the centring of queries, which uses the same mean (``retrieval``).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings.pooling import ZERO_NORM_LIMIT, row_norms


@dataclass(frozen=True)
class MeanAccumulator:
    """Sufficient statistics of a mean vector.

    Parameters
    ----------
    count : int
        Number of vectors.
    total : np.ndarray, shape (512,), float64
        Their sum.
    """

    count: int
    total: npt.NDArray[np.float64]

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32]) -> Self:
        """Sum up one block of vectors, shape (n, 512)."""
        return cls(len(vectors), vectors.sum(axis=0, dtype=np.float64))

    def merge(self, other: "MeanAccumulator") -> "MeanAccumulator":
        """Statistics of both sets of vectors together."""
        return MeanAccumulator(self.count + other.count, self.total + other.total)

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean vector, shape (512,).

        Raises
        ------
        ValueError
            When nothing was summed up: no vectors have no mean.
        """
        if self.count == 0:
            raise ValueError("the mean of no vectors is undefined")
        return self.total / self.count


def centre_and_normalise(
    raw: npt.NDArray[np.float32], mean: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Subtract the library's mean and scale each row to unit length.

    Parameters
    ----------
    raw : np.ndarray, shape (n, 512), float32
        Vectors as the model gives them.
    mean : np.ndarray, shape (512,), float64
        Mean over all raw vectors of the library, not only over these rows.

    Returns
    -------
    normalised : np.ndarray, shape (n, 512), float32
        Unit length where `kept`, zero elsewhere.
    kept : np.ndarray, shape (n,), bool
        False where the centred vector is no longer than 1e-12: the row equals the mean (as the only
        track of a library does), has no direction, and must be reported and left out.
    """
    centred = raw.astype(np.float64)
    centred -= mean
    norms = row_norms(centred)
    kept = norms[:, 0] > ZERO_NORM_LIMIT
    norms[~kept] = 1.0
    centred /= norms
    centred[~kept] = 0.0
    return centred.astype(np.float32), kept
