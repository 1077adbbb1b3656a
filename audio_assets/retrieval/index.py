"""An exact index over centred, unit vectors, with the mean that queries have to be centred with."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ZERO_NORM = 1e-12


class QueryError(Exception):
    """A query cannot be answered; the message says what is wrong with it."""


@dataclass(frozen=True)
class RetrievalIndex:
    """Ids, vectors and the stored mean.

    Parameters
    ----------
    track_ids : ndarray of str, shape (n,)
        Id of each row.
    embeddings : ndarray of float32, shape (n, d)
        Centred vectors of unit length.
    mean : ndarray of float32, shape (d,)
        Mean of the raw vectors.
    """

    track_ids: npt.NDArray[np.str_]
    embeddings: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]

    def search(
        self, raw_queries: npt.NDArray[np.float32], k: int, mean: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float32]]:
        """Nearest tracks of raw embeddings.

        Parameters
        ----------
        raw_queries : ndarray of float32, shape (q, d)
            Embeddings as the model gives them; they are centred here.
        k : int
            Neighbours wanted; as many as there are, if fewer.
        mean : ndarray of float32, shape (d,), optional
            What queries of another kind than the indexed vectors are centred with, such as texts; the
            stored mean where left out.

        Returns
        -------
        ids : ndarray of str, shape (q, k)
            Nearest first.
        scores : ndarray of float32, shape (q, k)
            Cosine after centring, -1 to 1.

        Raises
        ------
        QueryError
            A query is not finite, or equals the mean and so points nowhere.
        """
        queries = _centred(raw_queries, self.mean if mean is None else mean)
        scores = queries @ self.embeddings.T
        k = min(k, len(self.track_ids))
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return self.track_ids[nearest], np.take_along_axis(scores, nearest, axis=1)


def _centred(raw_queries: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = raw_queries.astype(np.float64) - mean
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    if not np.all(np.isfinite(norms)) or np.any(norms <= ZERO_NORM):
        raise QueryError("a query is not finite, or is the mean itself; it has no direction to search in")
    unit: npt.NDArray[np.float32] = (centred / norms).astype(np.float32)
    return unit
