"""The index people search: ids, centred unit vectors, and the mean that queries have to be centred with.

Task: the tracks nearest to a vector, or to a stored track. Conventions: the score is the cosine after
centring; best first, and tracks of one score in the order of the index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from audio_assets.retrieval import exact
from audio_assets.retrieval.approximate import ApproximateIndex

ZERO_NORM = 1e-12

Answer = tuple[npt.NDArray[np.str_], npt.NDArray[np.float32]]


class QueryError(Exception):
    """A query cannot be answered; the message says what is wrong with it."""


class UnknownTrackError(QueryError):
    """A track that the index does not have."""


@dataclass(frozen=True)
class RetrievalIndex:
    """Ids, vectors and the stored mean.

    Parameters
    ----------
    track_ids : ndarray of str, shape (n,)
        Id of each row.
    embeddings : ndarray of float32, shape (n, d)
        Centred vectors of unit length; may be mapped from a file.
    mean : ndarray of float32, shape (d,)
        Mean of the raw vectors.
    approximate : ApproximateIndex, optional
        Of these vectors; asked where it is the faster way, and searches are exact without it.
    """

    track_ids: npt.NDArray[np.str_]
    embeddings: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    approximate: ApproximateIndex | None = None

    def search(
        self,
        raw_queries: npt.NDArray[np.float32],
        k: int,
        *,
        mean: npt.NDArray[np.float32] | None = None,
        among: npt.NDArray[np.bool_] | None = None,
    ) -> Answer:
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
        among : ndarray of bool, shape (n,), optional
            Rows that may be found; all where left out.

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
        rows, scores = self._nearest(queries, k, among)
        return self.track_ids[rows], scores

    def neighbours(
        self, track_ids: Sequence[str], k: int, *, among: npt.NDArray[np.bool_] | None = None
    ) -> Answer:
        """Nearest tracks of stored tracks, by the stored vectors.

        Parameters
        ----------
        track_ids : sequence of str, length q
            Tracks of the index.
        k, among
            As for `search`.

        Returns
        -------
        ids : ndarray of str, shape (q, k)
            Nearest first. That is the track itself, before its copies, unless `among` leaves it out.
        scores : ndarray of float32, shape (q, k)
            Cosine after centring, -1 to 1.

        Raises
        ------
        UnknownTrackError
            The index has no such track.
        """
        own = self.rows_of(track_ids)
        queries = self.embeddings[own]
        rows, scores = self._nearest(queries, k, among)
        allowed = np.ones(len(own), np.bool_) if among is None else among[own]
        rows, scores = _itself_first(rows, scores, own, allowed)
        return self.track_ids[rows], scores

    def rows_of(self, track_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Rows of tracks, shape (q,).

        Raises
        ------
        UnknownTrackError
            The index has no such track.
        """
        wanted = np.asarray(track_ids, dtype=np.str_)
        order = self._by_id
        places = np.searchsorted(self.track_ids, wanted, sorter=order)
        rows: npt.NDArray[np.int64] = order[np.minimum(places, len(order) - 1)] if len(order) else places
        known = self.track_ids[rows] == wanted if len(order) else np.zeros(len(wanted), np.bool_)
        if not known.all():
            unknown = wanted[~known][:5].tolist()
            raise UnknownTrackError(f"not in the index: {', '.join(unknown)}")
        return rows

    @cached_property
    def _by_id(self) -> npt.NDArray[np.int64]:
        return np.argsort(self.track_ids, kind="stable")

    def _nearest(
        self, queries: npt.NDArray[np.float32], k: int, among: npt.NDArray[np.bool_] | None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        if k < 1:
            raise QueryError(f"{k} neighbours were asked for: at least one")
        n_allowed = len(self.track_ids) if among is None else int(np.count_nonzero(among))
        k = min(k, n_allowed)
        if k == 0:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        quick = self.approximate and self.approximate.nearest(self.embeddings, queries, k, among)
        return quick or exact.nearest(self.embeddings, queries, k, among)


def _centred(raw_queries: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = raw_queries.astype(np.float64) - mean
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    if not np.all(np.isfinite(norms)) or np.any(norms <= ZERO_NORM):
        raise QueryError("a query is not finite, or is the mean itself; it has no direction to search in")
    unit: npt.NDArray[np.float32] = (centred / norms).astype(np.float32)
    return unit


def _itself_first(
    rows: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    own: npt.NDArray[np.int64],
    allowed: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Put each query's own row before copies of it, which have the same score and may come earlier."""
    # The own row is put in front; then its second occurrence, or it where it is not allowed, falls out.
    superfluous = np.concatenate((~allowed[:, None], rows == own[:, None]), axis=1)
    order = np.argsort(superfluous, axis=1, kind="stable")[:, : rows.shape[1]]
    rows = np.take_along_axis(np.concatenate((own[:, None], rows), axis=1), order, axis=1)
    best = scores[:, :1]  # the own row's, or that of a copy
    return rows, np.take_along_axis(np.concatenate((best, scores), axis=1), order, axis=1)
