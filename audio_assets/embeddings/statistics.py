"""What a set of embeddings looks like: validity, spread, and how many dimensions it really uses.

Task: tell a healthy embedding space from a broken one before anybody searches it. Conventions: every
pair of different rows counts once, so nothing is sampled and the result has no seed. Metrics: mean and
population standard deviation of the pairwise cosine, effective rank, hubness (the only one that is taken
from a fixed sample, of very large sets), and how far a mean has moved.

What belongs here: measurements over a whole set. What does not: thresholds (``health`` and the checks).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_assets.cores import one_blas_thread
from audio_assets.embeddings.pooling import ZERO_NORM_LIMIT, row_norms
from audio_assets.embeddings.windows import EMBEDDING_DIM

# Bounds the float64 copies of a block, however large the library.
_BLOCK_ROWS = 8_192

#: Neighbours in a list whose repeated names make a hub.
HUBNESS_K = 10
# All pairs of so many rows take a few seconds; of more, that many are taken.
_HUBNESS_ROWS = 10_000
_SIMILARITY_BLOCK = 1_024


class CosineStatistics:
    """Exact pairwise cosine statistics from one pass over blocks of vectors.

    With z the rows at unit length and n their number, the sums over all pairs need only Σz and ZᵀZ:
    mean = (‖Σz‖² - n) / (n(n-1)) and the second moment = (‖ZᵀZ‖²_F - n) / (n(n-1)), where n stands for
    the rows paired with themselves.

    Parameters
    ----------
    n_dims : int
        Length of a vector.
    """

    def __init__(self, n_dims: int = EMBEDDING_DIM) -> None:
        self.n = 0
        self._total = np.zeros(n_dims)
        self._gram = np.zeros((n_dims, n_dims))

    def update(self, block: npt.NDArray[np.floating]) -> None:
        """Add rows, shape (n, n_dims), finite and not zero; they are scaled to unit length here."""
        unit = block.astype(np.float64)
        unit /= row_norms(unit)
        self.n += len(unit)
        self._total += unit.sum(axis=0)
        self._gram += unit.T @ unit

    @property
    def mean(self) -> float | None:
        """Mean cosine over all pairs; None when there is no pair."""
        if self.n < 2:
            return None
        return float((self._total @ self._total - self.n) / (self.n * (self.n - 1)))

    @property
    def std(self) -> float | None:
        """Population standard deviation of the cosine over all pairs; None when there is no pair."""
        mean = self.mean
        if mean is None:
            return None
        second = (np.square(self._gram).sum() - self.n) / (self.n * (self.n - 1))
        # Rounding can leave the variance of equal cosines a hair below zero.
        return float(np.sqrt(max(0.0, second - mean**2)))

    @property
    def effective_rank(self) -> float | None:
        """How many dimensions the rows use: exp of the entropy of the singular values; None for no rows.

        References
        ----------
        O. Roy and M. Vetterli, "The effective rank: a measure of effective dimensionality",
        Proc. EUSIPCO, 2007.
        """
        if self.n == 0:
            return None
        with one_blas_thread():
            eigenvalues = np.linalg.eigvalsh(self._gram)
        # The square root would blow the rounding noise of exact zeros up to 1e-8 a dimension.
        noise = eigenvalues[-1] * len(eigenvalues) * np.finfo(np.float64).eps
        singular = np.sqrt(eigenvalues[eigenvalues > noise])
        share = singular / singular.sum()
        return float(np.exp(-(share * np.log(share)).sum()))


@dataclass(frozen=True)
class SanityRecord:
    """Measured state of a set of embeddings, as stored and shown beside it.

    Pairwise values and effective rank are over the valid rows (finite and longer than 1e-12) and None
    where there are too few.
    """

    n_samples: int
    n_dims: int
    has_nan: bool
    has_inf: bool
    has_zero_norm: bool
    mean_pairwise_cosine: float | None
    std_pairwise_cosine: float | None
    effective_rank: float | None


class SanityMeter:
    """Measures a set of embeddings in one pass over blocks of it.

    Parameters
    ----------
    n_dims : int
        Length of a vector.
    """

    def __init__(self, n_dims: int = EMBEDDING_DIM) -> None:
        self._n_samples = 0
        self._n_dims = n_dims
        self._has_nan = self._has_inf = self._has_zero_norm = False
        self._cosines = CosineStatistics(n_dims)

    def update(self, block: npt.NDArray[np.floating]) -> None:
        """Add vectors, shape (n, n_dims), whatever they hold; they need not be of unit length."""
        self._n_samples += len(block)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            self._has_nan |= bool(np.isnan(block).any())
            self._has_inf |= bool(np.isinf(block).any())
            block = block[finite]
        directed = row_norms(block)[:, 0] > ZERO_NORM_LIMIT
        if not directed.all():
            self._has_zero_norm = True
            block = block[directed]
        self._cosines.update(block)

    def record(self) -> SanityRecord:
        """Give what was measured, exact over all pairs of valid rows."""
        return SanityRecord(
            n_samples=self._n_samples,
            n_dims=self._n_dims,
            has_nan=self._has_nan,
            has_inf=self._has_inf,
            has_zero_norm=self._has_zero_norm,
            mean_pairwise_cosine=self._cosines.mean,
            std_pairwise_cosine=self._cosines.std,
            effective_rank=self._cosines.effective_rank,
        )


def sanity_record(embeddings: npt.NDArray[np.floating]) -> SanityRecord:
    """Measure a set of embeddings that is in memory, or mapped into it.

    Parameters
    ----------
    embeddings : np.ndarray, shape (n, d), float
        Any set of vectors; need not be of unit length.

    Returns
    -------
    SanityRecord
        Exact over all pairs of valid rows.
    """
    meter = SanityMeter(embeddings.shape[1])
    for start in range(0, len(embeddings), _BLOCK_ROWS):
        meter.update(embeddings[start : start + _BLOCK_ROWS])
    return meter.record()


def sample_rows(n_rows: int, most: int) -> npt.NDArray[np.int64]:
    """Choose rows of a large set to look at.

    Parameters
    ----------
    n_rows : int
        Rows there are.
    most : int
        Rows to look at.

    Returns
    -------
    np.ndarray, shape (at most `most`,), int64
        All of a small set; else some, in order and always the same.
    """
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).choice(n_rows, most, replace=False))


@dataclass(frozen=True)
class Hubness:
    """How unevenly rows occur in each other's lists of the `HUBNESS_K` nearest.

    Parameters
    ----------
    n_samples : int
        Rows that were looked at.
    skewness : float
        Of the number of lists a row is in; 0 where it is even. A geometric distribution has about 2.
    largest : int
        Lists that the most frequent row is in.
    orphan_share : float
        Share of the rows that are in no list, and so are never found from another row.
    """

    n_samples: int
    skewness: float
    largest: int
    orphan_share: float


def hubness(unit: npt.NDArray[np.float32]) -> Hubness | None:
    """Measure whether a few rows are everybody's neighbour.

    Parameters
    ----------
    unit : np.ndarray, shape (n, d), float32
        Vectors of unit length, as they are searched.

    Returns
    -------
    Hubness or None
        Exact up to 10,000 rows, else among 10,000 of them, always the same; None where every row is in
        nearly every list, as there are fewer than twice as many rows as a list is long.

    References
    ----------
    M. Radovanović, A. Nanopoulos and M. Ivanović, "Hubs in space: popular nearest neighbors in
    high-dimensional data", Journal of Machine Learning Research 11, 2010.
    """
    if len(unit) < 2 * HUBNESS_K:
        return None
    rows = unit[sample_rows(len(unit), _HUBNESS_ROWS)]
    occurrences = np.zeros(len(rows), dtype=np.int64)
    for start in range(0, len(rows), _SIMILARITY_BLOCK):
        block = rows[start : start + _SIMILARITY_BLOCK] @ rows.T
        own = np.arange(len(block))
        block[own, start + own] = -np.inf  # nobody is their own neighbour
        nearest = np.argpartition(-block, HUBNESS_K, axis=1)[:, :HUBNESS_K]
        occurrences += np.bincount(nearest.ravel(), minlength=len(rows))
    deviation = occurrences - HUBNESS_K  # each row gives K places away, so the mean is K
    std = float(np.sqrt(np.mean(deviation.astype(np.float64) ** 2)))
    skewness = float(np.mean(deviation.astype(np.float64) ** 3)) / std**3 if std else 0.0
    return Hubness(len(rows), skewness, int(occurrences.max()), float(np.mean(occurrences == 0)))


@dataclass(frozen=True)
class MeanDrift:
    """How far the mean of a set has moved since it was last taken.

    Parameters
    ----------
    distance : float
        Between the two means, in units of the spread: the root mean square distance of a unit vector
        from the new mean.
    cosine : float
        Between the two means.
    """

    distance: float
    cosine: float


def mean_drift(before: npt.NDArray[np.floating], after: npt.NDArray[np.floating]) -> MeanDrift:
    """Compare two means of vectors of unit length.

    Parameters
    ----------
    before, after : np.ndarray, shape (d,), float
        Mean vectors, not zero.

    Returns
    -------
    MeanDrift
        For unit vectors the mean of ‖x - μ‖² is 1 - ‖μ‖², so the spread needs no vectors. It is taken as
        no smaller than 1e-6, for a set of copies has none.
    """
    old, new = before.astype(np.float64), after.astype(np.float64)
    spread = np.sqrt(max(1e-12, float(1 - new @ new)))
    cosine = old @ new / (np.linalg.norm(old) * np.linalg.norm(new))
    return MeanDrift(float(np.linalg.norm(new - old) / spread), float(cosine))
