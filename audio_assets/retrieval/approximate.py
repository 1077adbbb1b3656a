"""An approximate index for large libraries: it proposes rows, and the exact vectors decide among them.

faiss sorts the rows into lists by their nearest centroid and keeps 8 bits a dimension. A query looks through
the nearest lists only. How many is settled when the index is built: so many that ten neighbours are found as
surely as `TARGET_RECALL` says, measured on rows that are queried without themselves.

What belongs here: building, keeping and asking that index. What does not: exact scores (``exact``).

References
----------
H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search", IEEE TPAMI 33, 2011
(inverted lists); M. Douze et al., "The Faiss library", 2024 (the implementation).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from audio_assets.retrieval import exact

Vectors = npt.NDArray[np.float32]

#: Rows from which on an approximate index is worth its making: the exact search takes some 30 ms by then.
APPROXIMATE_FROM = 200_000
#: Share of the true ten nearest that is found; half of what 0.99 allows to be missed is kept as a margin.
TARGET_RECALL = 0.995
_K = 10
_SEED = 20_240_607
_CALIBRATION_QUERIES = 512
_TRAINING_ROWS_A_LIST = 40
_ITERATIONS = 8
_ROWS_AT_ONCE = 16_384
# Rows that are scored again exactly: several times what is wanted, as 8 bits confuse near ones.
_CANDIDATES_A_NEIGHBOUR = 5
_FEWEST_CANDIDATES = 50
_MOST_NEIGHBOURS = 200
# A filter may have to do with the vectors, as a genre has: what it leaves can be far from the query, in lists
# that are not looked through. So it is applied to the nearest of all, found with more lists than ten need.
_MOST_FILTERED = 100
_PROBES_OF_FILTERED = 4


@dataclass(frozen=True)
class ApproximateIndex:
    """Inverted lists of coarse vectors.

    Parameters
    ----------
    lists : faiss.IndexIVFScalarQuantizer
        Carries how many lists a query looks through, also in its file.
    """

    lists: Any

    @classmethod
    def build(cls, matrix: Vectors, threads: int) -> Self:
        """Sort rows into lists, and settle how many of these a query looks through.

        Parameters
        ----------
        matrix : ndarray of float32, shape (n, d)
            Rows of unit length; read block by block.
        threads : int
            Threads to use.

        Returns
        -------
        ApproximateIndex
            Always the same for the same rows.
        """
        import faiss

        faiss.omp_set_num_threads(threads)
        n_lists = max(1, int(4 * np.sqrt(len(matrix))))
        n_dims = matrix.shape[1]
        coarse = faiss.IndexFlatIP(n_dims)
        lists = faiss.IndexIVFScalarQuantizer(
            coarse, n_dims, n_lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        lists.cp.seed, lists.cp.niter, lists.cp.spherical = _SEED, _ITERATIONS, True
        lists.cp.min_points_per_centroid = 1  # a small library is given fewer; that is no reason to warn
        lists.train(matrix[_sample(len(matrix), _TRAINING_ROWS_A_LIST * n_lists)])
        for start in range(0, len(matrix), _ROWS_AT_ONCE):
            lists.add(matrix[start : start + _ROWS_AT_ONCE])
        index = cls(lists)
        index._settle_probes(matrix)
        return index

    @classmethod
    def load(cls, path: Path, threads: int) -> Self:
        """Open an index; its lists are mapped from the file and read as they are looked through."""
        import faiss

        faiss.omp_set_num_threads(threads)
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))

    def save(self, path: Path) -> None:
        """Write the index to a file."""
        import faiss

        faiss.write_index(self.lists, str(path))

    def nearest(
        self, matrix: Vectors, queries: Vectors, k: int, among: npt.NDArray[np.bool_] | None = None
    ) -> tuple[exact.Rows, Vectors] | None:
        """Find rows that very likely have the largest inner products.

        Parameters
        ----------
        matrix, queries, k, among
            As for `exact.nearest`; the matrix is the one the index was built of.

        Returns
        -------
        rows, scores : ndarray
            As of `exact.nearest`; the scores are exact. None where the exact way is the better one: many
            neighbours are wanted, or too few of what the lists looked through hold may be found.
        """
        if among is None:
            return None if k > _MOST_NEIGHBOURS else self._look_through(matrix, queries, k, self.lists.nprobe)
        if k > _MOST_FILTERED:
            return None
        n_probes = min(self.lists.nlist, _PROBES_OF_FILTERED * self.lists.nprobe)
        found = self._look_through(matrix, queries, _MOST_FILTERED, n_probes)
        return found and _allowed(*found, k, among)

    def _look_through(
        self, matrix: Vectors, queries: Vectors, k: int, n_probes: int
    ) -> tuple[exact.Rows, Vectors] | None:
        import faiss

        how = faiss.SearchParametersIVF(nprobe=n_probes)
        rows = self.lists.search(queries, max(_FEWEST_CANDIDATES, _CANDIDATES_A_NEIGHBOUR * k), params=how)[1]
        proposed = rows >= 0  # where lists hold too few rows the rest is -1
        if np.any(np.count_nonzero(proposed, axis=1) < k):
            return None
        return exact.best_of(matrix, rows[proposed], queries, np.nonzero(proposed)[0], k)

    def _settle_probes(self, matrix: Vectors) -> None:
        """Look through ever more lists until the recall is reached."""
        queries = matrix[_sample(len(matrix), _CALIBRATION_QUERIES)]
        k = min(_K + 1, len(matrix))  # each finds itself first, which says nothing
        tenth = exact.nearest(matrix, queries, k)[1][:, -1:]
        for n_probes in _ladder(self.lists.nlist):
            self.lists.nprobe = n_probes
            found = self._look_through(matrix, queries, k, n_probes)
            # By score, as one copy of a track is as good as another.
            if found and np.mean(found[1][:, 1:] >= tenth) >= TARGET_RECALL:
                return


def _allowed(
    rows: exact.Rows, scores: Vectors, k: int, among: npt.NDArray[np.bool_]
) -> tuple[exact.Rows, Vectors] | None:
    """Choose the first k of each query that may be found; None where one has fewer."""
    allowed = among[rows]
    if np.any(np.count_nonzero(allowed, axis=1) < k):
        return None
    order = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _ladder(most: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, ... up to all lists."""
    n = 1
    while n < most:
        yield n
        if n > 1 and n * 3 // 2 < most:
            yield n * 3 // 2
        n *= 2
    yield most


def _sample(n_rows: int, most: int) -> npt.NDArray[np.int64]:
    """All rows, or some of more, always the same, in order."""
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(_SEED).choice(n_rows, most, replace=False))
