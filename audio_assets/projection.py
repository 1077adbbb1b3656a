"""From 512 dimensions to a plane: coordinates for a map of a collection.

Task: tracks that are near each other in the index are near each other on the map. Conventions: vectors are
those of the index, centred and of unit length; distance is the cosine's. Everything random has a fixed seed,
and one thread, as UMAP's result depends on their number. Metric: trustworthiness, 1 where nobody on the map
has a neighbour who is none in the index, about 0.5 where points are thrown down at random.

What belongs here: numpy in, numpy out. What does not: where vectors come from, and who draws the map.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

SEED = 42
#: How many neighbours of each track UMAP looks at: more of them keep more of the whole, fewer more of detail.
N_NEIGHBORS = 15
#: How close points may lie: small, since what is wanted is which tracks are alike.
MIN_DIST = 0.1
#: Fewer tracks have no neighbourhoods to keep.
FEWEST_FOR_UMAP = 4
#: Rows that trustworthiness is measured with; all distances among them are some 500 MB.
TRUSTED_ROWS = 5_000


class MapExtraMissingError(Exception):
    """A library of the optional extra `map` is not installed."""

    def __init__(self, library: str) -> None:
        super().__init__(
            f"the map needs {library}, which is not installed: in the project's folder, "
            "pip install --editable '.[map]' adds what the map needs"
        )


@dataclass(frozen=True)
class Projection:
    """Where each track is on the map.

    Parameters
    ----------
    points : ndarray of float32, shape (n, 2)
        Coordinates; they have no unit.
    method : str
        ``umap``; ``principal components`` for fewer than four tracks.
    n_neighbors : int
        That UMAP looked at; fewer than 15 in a collection of fewer than 16.
    trustworthiness : float or None
        0 to 1; None for fewer than four tracks.
    """

    points: Vectors
    method: str
    n_neighbors: int
    trustworthiness: float | None


def project(unit: Vectors) -> Projection:
    """Lay tracks out on a plane.

    Parameters
    ----------
    unit : ndarray of float32, shape (n, d)
        Vectors of unit length.

    Returns
    -------
    Projection
        The same for the same vectors, on one machine and with one version of UMAP.

    Raises
    ------
    MapExtraMissingError
        UMAP is not installed.

    References
    ----------
    L. McInnes, J. Healy and J. Melville, "UMAP: uniform manifold approximation and projection for dimension
    reduction", arXiv:1802.03426, 2018.
    """
    if len(unit) < FEWEST_FOR_UMAP:
        return Projection(_principal_components(unit), "principal components", 0, None)
    n_neighbors = min(N_NEIGHBORS, len(unit) - 1)
    points = _umap(unit, n_neighbors)
    return Projection(points, "umap", n_neighbors, trustworthiness(unit, points))


def trustworthiness(unit: Vectors, points: Vectors) -> float:
    """Measure how far neighbours on the map are neighbours in the index.

    Parameters
    ----------
    unit : ndarray of float32, shape (n, d)
        What was projected, four rows at least.
    points : ndarray of float32, shape (n, 2)
        Where to.

    Returns
    -------
    float
        0 to 1, over 15 neighbours or fewer than half of the tracks. Among 5,000 tracks, always the same, of
        more.

    References
    ----------
    J. Venna and S. Kaski, "Neighborhood preservation in nonlinear projection methods: an experimental
    study", Proc. ICANN, 2001.
    """
    from sklearn.manifold import trustworthiness as measure

    rows = np.arange(len(unit))
    if len(rows) > TRUSTED_ROWS:
        rows = np.sort(np.random.default_rng(SEED).choice(rows, TRUSTED_ROWS, replace=False))
    most = (len(rows) - 1) // 2  # the measure is not defined for half of the rows or more
    return float(measure(unit[rows], points[rows], n_neighbors=min(N_NEIGHBORS, most), metric="cosine"))


def _umap(unit: Vectors, n_neighbors: int) -> Vectors:
    try:
        from umap import UMAP
    except ModuleNotFoundError as error:
        raise MapExtraMissingError("umap-learn") from error
    # Started from principal components: the usual spectral start has no solution for very few tracks.
    mapper = UMAP(
        n_neighbors=n_neighbors,
        min_dist=MIN_DIST,
        metric="cosine",
        init="pca",
        random_state=SEED,
        n_jobs=1,
    )
    return np.asarray(mapper.fit_transform(unit), dtype=np.float32)


def _principal_components(unit: Vectors) -> Vectors:
    points = np.zeros((len(unit), 2), dtype=np.float32)
    if len(unit) > 1:
        left, singular, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
        points[:, :2] = (left * singular)[:, :2]
    return points
