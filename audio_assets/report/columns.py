"""What the values of one feature look like over a collection, and what about them is suspicious.

Task: find columns that are broken without knowing the truth. Conventions: a column is float64 with NaN for
NULL; shares are of all rows; bounds that follow from a definition are the publication's business and not
looked at. A concern is a reason to look, not a verdict.

What belongs here: numpy in, summaries and sentences out. What does not: where columns come from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_assets.features import Feature

Floats = npt.NDArray[np.float64]

N_BINS = 24
#: Drawn between these quantiles; what is beyond is counted at the edge, or one value would flatten the rest.
_DRAWN = (0.005, 0.995)

_NULLS_LIMIT = 0.2
_ONE_VALUE_LIMIT = 0.9
_FAR_IQRS = 100.0
_COPY_CORRELATION = 0.9999
#: Below, a share or a quartile says little.
_FEWEST_ROWS = 20
#: A tonic in one of a hundred tracks is missing in so many by chance once in 23,000 collections.
_FEWEST_KEYS = 1_000


@dataclass(frozen=True)
class ColumnSummary:
    """Values of one feature.

    Parameters
    ----------
    feature : Feature
        Which.
    n_rows, n_null : int
        Rows, and those without a value.
    low, lower_quartile, median, upper_quartile, high : float
        Of the values; NaN where there is none.
    commonest, commonest_share : float
        The value that most rows have, and their share of all rows.
    counts : ndarray of int64, shape (24,)
        Histogram of the values.
    edges : ndarray of float64, shape (25,)
        Of its bins; the outermost bins hold what is beyond as well.
    """

    feature: Feature
    n_rows: int
    n_null: int
    low: float
    lower_quartile: float
    median: float
    upper_quartile: float
    high: float
    commonest: float
    commonest_share: float
    counts: npt.NDArray[np.int64]
    edges: Floats


def summarise(feature: Feature, column: Floats) -> ColumnSummary:
    """Summarise one column.

    Parameters
    ----------
    feature : Feature
        What the column holds.
    column : ndarray of float64, shape (n,)
        One value a track; NaN where it has none.

    Returns
    -------
    ColumnSummary
        Exact, whatever n.
    """
    values = column[np.isfinite(column)]
    n_null = len(column) - len(values)
    if not len(values):
        return _empty(feature, len(column))
    low, lower, median, upper, high = np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()
    distinct, times = np.unique(values, return_counts=True)
    commonest, share = float(distinct[times.argmax()]), float(times.max() / len(column))
    edges = np.linspace(*_drawn_range(values), N_BINS + 1)
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return ColumnSummary(
        feature, len(column), n_null, low, lower, median, upper, high, commonest, share, counts, edges
    )


def concerns(column: ColumnSummary) -> Iterator[str]:
    """Say what is suspicious about a column.

    Yields
    ------
    str
        One reason to look at it, as a sentence for a person.
    """
    n_values = column.n_rows - column.n_null
    if not n_values:
        if column.n_rows:
            yield "No track has a value."
        return
    if column.n_null > _NULLS_LIMIT * column.n_rows:
        yield f"{column.n_null / column.n_rows:.0%} of the tracks have no value."
    if column.low == column.high and n_values > 1:
        yield f"Constant: every value is {column.low:.4g}."
    elif n_values < _FEWEST_ROWS:
        return
    elif column.commonest_share >= _ONE_VALUE_LIMIT:
        yield f"{column.commonest_share:.1%} of the tracks have the value {column.commonest:.4g}."
    elif (distance := _farthest(column)) > _FAR_IQRS:
        yield (
            f"The farthest value is {distance:,.0f} interquartile ranges from the median: "
            f"values go from {column.low:.4g} to {column.high:.4g}."
        )


def copies(names: Sequence[str], columns: Floats) -> list[tuple[str, str, float]]:
    """Find pairs of columns that say the same.

    Parameters
    ----------
    names : sequence of str, length m
        Of the columns.
    columns : ndarray of float64, shape (n, m)
        Rows may be a sample; NaN where there is no value.

    Returns
    -------
    list of (str, str, float)
        Two names and Pearson's correlation, where its magnitude is at least 0.9999. Rows without one of the
        values are left out of all pairs, and constant columns have no correlation.
    """
    whole = columns[np.isfinite(columns).all(axis=1)]
    if len(whole) < _FEWEST_ROWS:
        return []
    varying = np.flatnonzero(np.ptp(whole, axis=0) > 0)
    correlation = np.atleast_2d(np.corrcoef(whole[:, varying], rowvar=False))
    pairs = np.argwhere(np.triu(np.abs(correlation) >= _COPY_CORRELATION, k=1))
    return [(names[varying[a]], names[varying[b]], float(correlation[a, b])) for a, b in pairs]


def missing_tonics(counts: Sequence[int]) -> list[int]:
    """Tonics that no track is in, although so many tracks should have some.

    Parameters
    ----------
    counts : sequence of int, length 12
        Tracks by semitone of their tonic.

    Returns
    -------
    list of int
        Semitones; empty below 1,000 tracks with a key.
    """
    if sum(counts) < _FEWEST_KEYS:
        return []
    return [semitone for semitone, count in enumerate(counts) if not count]


def _empty(feature: Feature, n_rows: int) -> ColumnSummary:
    nan = float("nan")
    counts, edges = np.zeros(N_BINS, np.int64), np.linspace(0, 1, N_BINS + 1)
    return ColumnSummary(feature, n_rows, n_rows, nan, nan, nan, nan, nan, nan, 0.0, counts, edges)


def _drawn_range(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, _DRAWN).tolist()
    # A constant gets a bin of its own in the middle, wide enough to be told from its neighbours.
    return (low, high) if high > low else (low - max(1.0, abs(low)), low + max(1.0, abs(low)))


def _farthest(column: ColumnSummary) -> float:
    """Largest distance from the median, in interquartile ranges; 0 where half of the values are one."""
    spread = column.upper_quartile - column.lower_quartile
    return max(column.high - column.median, column.median - column.low) / spread if spread > 0 else 0.0
