"""The nearest rows of a matrix, exactly: one BLAS product, block by block, and a selection.

Conventions: rows and queries are float32 of unit length, the score is their inner product, and equal
scores are in the order of the rows. A product's last bits depend on how many rows and queries are multiplied
at once, so it only proposes: what may be among the nearest is scored again in float64, pair by pair. A
query's answer is thus the same alone and in any company.

What belongs here: scores and selection. What does not: ids, centring (``index``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

#: More than a float32 inner product of unit vectors of 512 dimensions is off by.
_ROUNDING = 1e-5
_QUERIES_AT_ONCE = 256
# A block's scores stay in the cache, and the first block is where most of the selecting is done.
_SCORES_AT_ONCE = 2**22
_MOST_ROWS = 2**16
_PAIRS_AT_ONCE = 4_096


@dataclass(frozen=True)
class _Found:
    """Rows found so far, with the query that each is for; all of one length."""

    query: Rows
    row: Rows
    score: npt.NDArray[np.float64]

    def best(self, k: int) -> "_Found":
        """Keep the k best of each query, by query, then best first."""
        order = np.lexsort((self.row, -self.score, self.query))
        query = self.query[order]
        kept = order[np.arange(len(order)) - np.searchsorted(query, query) < k]
        return _Found(self.query[kept], self.row[kept], self.score[kept])

    def joined(self, other: "_Found") -> "_Found":
        pairs = ((self.query, other.query), (self.row, other.row))
        query, row = (np.concatenate(pair) for pair in pairs)
        return _Found(query, row, np.concatenate((self.score, other.score)))

    def as_table(self, n_queries: int, k: int) -> tuple[Rows, Vectors]:
        """Give rows and scores in the shape (q, k); each query has k of them."""
        shape = (n_queries, k)
        return self.row.reshape(shape), self.score.reshape(shape).astype(np.float32)


def nearest(
    matrix: Vectors, queries: Vectors, k: int, among: npt.NDArray[np.bool_] | None = None
) -> tuple[Rows, Vectors]:
    """Find the rows with the largest inner products.

    Parameters
    ----------
    matrix : ndarray of float32, shape (n, d)
        Rows of unit length; may be mapped from a file, and is read once for 256 queries.
    queries : ndarray of float32, shape (q, d)
        Of unit length.
    k : int
        Rows wanted of each query; no more than may be found.
    among : ndarray of bool, shape (n,), optional
        Rows that may be found; all where left out.

    Returns
    -------
    rows : ndarray of int64, shape (q, k)
        Best first.
    scores : ndarray of float32, shape (q, k)
        Their inner products.
    """
    blocks = range(0, len(queries), _QUERIES_AT_ONCE)
    found = [_nearest(matrix, queries[start : start + _QUERIES_AT_ONCE], k, among) for start in blocks]
    rows = np.concatenate([rows for rows, _ in found]) if found else np.empty((0, k), np.int64)
    scores = np.concatenate([scores for _, scores in found]) if found else np.empty((0, k), np.float32)
    return rows, scores


def best_of(matrix: Vectors, row: Rows, queries: Vectors, query: Rows, k: int) -> tuple[Rows, Vectors]:
    """Choose the best of the rows that were proposed for each query.

    Parameters
    ----------
    matrix, queries
        As for `nearest`.
    row, query : ndarray of int64, shape (m,)
        Pairs; at least `k` of each query, and none twice.
    k : int
        Rows wanted of each query.

    Returns
    -------
    rows, scores : ndarray
        As of `nearest`.
    """
    return _Found(query, row, _inner_products(matrix, row, queries, query)).best(k).as_table(len(queries), k)


def _inner_products(matrix: Vectors, row: Rows, queries: Vectors, query: Rows) -> npt.NDArray[np.float64]:
    """Inner product of each pair, computed the same way for all."""
    scores = np.empty(len(row))
    for start in range(0, len(row), _PAIRS_AT_ONCE):
        some = slice(start, start + _PAIRS_AT_ONCE)
        left, right = matrix[row[some]].astype(np.float64), queries[query[some]].astype(np.float64)
        scores[some] = np.einsum("md,md->m", left, right)
    return scores


def _nearest(
    matrix: Vectors, queries: Vectors, k: int, among: npt.NDArray[np.bool_] | None
) -> tuple[Rows, Vectors]:
    found = _Found(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    for start, block, rows in _blocks(matrix, len(queries), among):
        scores = queries @ block.T
        query, column = _promising(scores, k, _floor(found, len(queries), k))
        row = start + (column if rows is None else rows[column])
        again = _Found(query, row, _inner_products(matrix, row, queries, query))
        found = found.joined(again).best(k)
    return found.as_table(len(queries), k)


def _blocks(
    matrix: Vectors, n_queries: int, among: npt.NDArray[np.bool_] | None
) -> Iterator[tuple[int, Vectors, Rows | None]]:
    """Blocks of rows: where each begins, its vectors, and which rows of it they are unless all."""
    size = min(_MOST_ROWS, max(1, _SCORES_AT_ONCE // max(1, n_queries)))
    for start in range(0, len(matrix), size):
        block = matrix[start : start + size]
        if among is None:
            yield start, block, None
        elif len(rows := np.flatnonzero(among[start : start + size])):
            # The whole block is multiplied unless rows are left out: to copy some costs less than all.
            yield start, block if len(rows) == len(block) else block[rows], rows


def _floor(found: _Found, n_queries: int, k: int) -> npt.NDArray[np.float32]:
    """Score that a row must reach to be among the k best so far, of each query."""
    if len(found.score) < n_queries * k:
        return np.full(n_queries, -np.inf, np.float32)
    return found.score.reshape(n_queries, k)[:, -1].astype(np.float32)


def _promising(scores: Vectors, k: int, floor: npt.NDArray[np.float32]) -> tuple[Rows, Rows]:
    """Pairs of a query and a column that may be among its k best, for all that rounding may have done."""
    mask = scores >= (floor - _ROUNDING)[:, None]
    if np.count_nonzero(mask) > 4 * k * len(scores) and scores.shape[1] > k:
        block_floor = np.partition(scores, -k, axis=1)[:, -k]
        mask = scores >= (np.maximum(floor, block_floor) - _ROUNDING)[:, None]
    query, column = np.divmod(np.flatnonzero(mask), scores.shape[1])
    return query, column
