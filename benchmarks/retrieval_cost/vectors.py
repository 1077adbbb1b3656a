"""Vectors shaped like CLAP's, of any number, always the same.

Raw vectors lie in a narrow cone: one large common mean, and around it clusters of clusters whose directions
have a decaying spectrum. Centred and scaled to unit length they have a wide spread of cosines and use few of
their 512 dimensions, as real ones do; Gaussian vectors have none of this, and every index fails on them.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

DIMS = 512
_GENRES, _STYLES = 24, 40
_BLOCK = 16_384
# Of the spectrum, and of how much of it genres, styles within them and tracks within those make up.
_DECAY, _CUT = 0.6, 24.0
_SHARES = (0.6, 0.55, 0.58)
#: Length of the part that tracks do not share, for a common part of 1: gives a mean cosine of 0.94.
_SPREAD = 0.25


def raw_blocks(n: int, seed: int = 0) -> Iterator[npt.NDArray[np.float32]]:
    """Raw unit vectors in blocks; the first rows are the same whatever n is."""
    rng = np.random.default_rng(seed)
    common = _unit(rng.standard_normal(DIMS))
    axes = np.linalg.qr(rng.standard_normal((DIMS, DIMS)))[0].astype(np.float32)
    spectrum = _spectrum()
    genres = rng.standard_normal((_GENRES, DIMS)) * spectrum
    styles = rng.standard_normal((_GENRES, _STYLES, DIMS)) * spectrum
    # Some genres and styles are far commoner than others.
    weights = 1 / np.arange(1, _GENRES * _STYLES + 1) ** 0.7
    weights /= weights.sum()
    places = rng.permutation(_GENRES * _STYLES)
    for start in range(0, n, _BLOCK):
        cluster = places[rng.choice(len(weights), _BLOCK, p=weights)]
        own = rng.standard_normal((_BLOCK, DIMS), dtype=np.float32) * spectrum.astype(np.float32)
        genre, style = np.divmod(cluster, _STYLES)
        parts = (genres[genre], styles[genre, style], own)
        aside = sum(share * part for share, part in zip(_SHARES, parts, strict=True)).astype(np.float32)
        # Some tracks lie far out of the cone, most well inside.
        spread = _SPREAD * np.exp(0.7 * rng.standard_normal((_BLOCK, 1), dtype=np.float32) - 0.3)
        yield _unit(common + spread * (aside @ axes))[: n - start]


def _spectrum() -> npt.NDArray[np.float64]:
    position = np.arange(1, DIMS + 1)
    singular = position**-_DECAY * np.exp(-position / _CUT) + 0.001
    return singular / np.linalg.norm(singular)


def _unit(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
