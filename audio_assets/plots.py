"""Pictures of a library's numbers, small enough for a page of the UI.

What belongs here: numpy in, PNG out, and the Markdown that carries a PNG. What does not: where the numbers
come from, and Dagster. A picture of nothing is None. Large libraries are drawn from a sample, always the
same one, so that two builds of the same tables give the same picture.
"""

import base64
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audio_assets.cores import one_blas_thread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating]

#: All pairs of so many rows are half a million; more would not change a histogram of 80 bins.
_ROWS_FOR_PAIRS = 1_000
#: More points than this hide each other, and make the file larger.
_POINTS = 1_500
_NAMED_LABELS = 8
_LABEL_WIDTH = 24
_WIDTH_IN = 6.4
_HEIGHT_IN = 2.8
_DPI = 100
_COLOURS = 64
_FIRST, _SECOND, _REST = "#4f43dd", "#e0873a", "#b8bcc8"
_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_SLOWEST_BPM, _FASTEST_BPM = 30.0, 250.0


def cosine_histogram(raw: Floats, centred: Floats) -> bytes | None:
    """Draw how alike pairs of tracks are, before and after centring.

    Parameters
    ----------
    raw, centred : np.ndarray, shape (n, d) and (m, d), float
        Vectors of unit length, finite.

    Returns
    -------
    bytes or None
        PNG; None where there is no pair.
    """
    if min(len(raw), len(centred)) < 2:
        return None
    figure, axes = _canvas()
    bins = np.linspace(-1, 1, 81).tolist()
    for vectors, name, colour in ((raw, "raw", _FIRST), (centred, "centred", _SECOND)):
        cosines = _pairwise_cosines(vectors)
        weights = np.full(len(cosines), 100 / len(cosines))
        axes.hist(
            cosines,
            bins,
            weights=weights,
            color=colour,
            alpha=0.6,
            label=f"{name}, mean {cosines.mean():.3f}",
        )
        axes.axvline(cosines.mean(), color=colour, linewidth=1)
    axes.set(xlabel="cosine of two tracks", ylabel="pairs [%]", xlim=(-1, 1))
    axes.legend(frameon=False, loc="upper left")
    return _png(figure)


def tempo_histogram(tempo_bpm: Floats) -> bytes | None:
    """Draw the tempi of a library.

    Parameters
    ----------
    tempo_bpm : np.ndarray, shape (n,), float
        One a track; NaN where a track has none. What is beyond 30 to 250 BPM is drawn at the edge.

    Returns
    -------
    bytes or None
        PNG; None where no track has a tempo.
    """
    known = tempo_bpm[np.isfinite(tempo_bpm)]
    if not len(known):
        return None
    figure, axes = _canvas()
    axes.hist(
        np.clip(known, _SLOWEST_BPM, _FASTEST_BPM), np.arange(_SLOWEST_BPM, 255, 5).tolist(), color=_FIRST
    )
    median = float(np.median(known))
    axes.axvline(median, color=_SECOND, linewidth=1.5, label=f"median {median:.0f}")
    axes.set(xlabel="tempo [BPM]", ylabel="tracks", xlim=(_SLOWEST_BPM, _FASTEST_BPM))
    axes.locator_params(axis="y", integer=True)
    axes.legend(frameon=False, loc="upper right")
    return _png(figure)


def key_distribution(key_cos: Floats, key_sin: Floats, is_minor: Floats) -> bytes | None:
    """Draw how many tracks are in each of the 24 keys.

    Parameters
    ----------
    key_cos, key_sin : np.ndarray, shape (n,), float
        Angle of the tonic on the circle of semitones, C at 0; NaN where a track has no key.
    is_minor : np.ndarray, shape (n,), float
        1 for minor, 0 for major.

    Returns
    -------
    bytes or None
        PNG; None where no track has a key.
    """
    known = np.isfinite(key_cos) & np.isfinite(key_sin) & np.isfinite(is_minor)
    if not known.any():
        return None
    tonic = np.rint(np.arctan2(key_sin[known], key_cos[known]) * 6 / np.pi).astype(np.int64) % 12
    minor = is_minor[known] >= 0.5
    major_counts, minor_counts = (np.bincount(tonic[mode], minlength=12) for mode in (~minor, minor))
    figure, axes = _canvas()
    axes.bar(_TONICS, major_counts, color=_FIRST, label=f"major, {major_counts.sum()}")
    axes.bar(_TONICS, minor_counts, bottom=major_counts, color=_SECOND, label=f"minor, {minor_counts.sum()}")
    axes.set(xlabel="key", ylabel="tracks")
    axes.locator_params(axis="y", integer=True)
    # Above the bars, which may reach the top anywhere.
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return _png(figure)


def embedding_map(vectors: Floats, labels: Sequence[str | None]) -> bytes | None:
    """Draw the embeddings in the two directions in which they differ most.

    Parameters
    ----------
    vectors : np.ndarray, shape (n, d), float
        One row a track, finite.
    labels : sequence of str or None, length n
        What a point is coloured by. The commonest are named, the others and None are grey.

    Returns
    -------
    bytes or None
        PNG; None where there are fewer than three tracks or all are alike.
    """
    rows = _sample(len(vectors), _POINTS)
    points, shares = _principal_plane(vectors[rows]) if len(rows) > 2 else (vectors, np.zeros(2))
    if not shares.sum() > 0:
        return None
    return _scatter(
        points,
        [labels[row] for row in rows],
        f"1st principal component, {shares[0]:.0%} of the variance",
        f"2nd, {shares[1]:.0%}",
    )


def point_map(points: Floats, labels: Sequence[str | None]) -> bytes | None:
    """Draw tracks where a projection has put them.

    Parameters
    ----------
    points : np.ndarray, shape (n, 2), float
        One row a track, finite.
    labels : sequence of str or None, length n
        As for `embedding_map`.

    Returns
    -------
    bytes or None
        PNG; None where there is no track.
    """
    rows = _sample(len(points), _POINTS)
    return _scatter(points[rows], [labels[row] for row in rows], "x", "y") if len(rows) else None


def _scatter(points: Floats, names: Sequence[str | None], across: str, up: str) -> bytes:
    common = [name for name, _ in Counter(filter(None, names)).most_common(_NAMED_LABELS)]
    figure, axes = _canvas(height_in=4.4)
    others = [name not in common for name in names]
    size = 26 if len(points) < 300 else 6
    if any(others):
        axes.scatter(
            points[others, 0], points[others, 1], s=size, color=_REST, label="other" if common else None
        )
    for number, name in enumerate(common):
        mine = [label == name for label in names]
        axes.scatter(points[mine, 0], points[mine, 1], s=size, color=f"C{number}", label=_short(name))
    axes.set(xlabel=across, ylabel=up)
    if common:
        axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return _png(figure)


def as_markdown(png: bytes, description: str) -> str:
    """Give a picture as Markdown that holds all of it; the description is for those who cannot see it."""
    return f"![{description}](data:image/png;base64,{base64.b64encode(png).decode()})"


def _pairwise_cosines(unit: Floats) -> npt.NDArray[np.float64]:
    chosen = unit[_sample(len(unit), _ROWS_FOR_PAIRS)].astype(np.float64)
    cosines: npt.NDArray[np.float64] = (chosen @ chosen.T)[np.triu_indices(len(chosen), k=1)]
    return np.clip(cosines, -1, 1)


def _principal_plane(vectors: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coordinates in the first two principal components, and their shares of the variance."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    with one_blas_thread():
        left, singular, axes = np.linalg.svd(centred, full_matrices=False)
    # A component has no sign of its own; without this a map would be mirrored from one build to the next.
    signs = np.sign(axes[[0, 1], np.abs(axes[:2]).argmax(axis=1)])
    variance = np.square(singular)
    shares = variance[:2] / variance.sum() if variance.sum() > np.finfo(np.float32).eps else np.zeros(2)
    return left[:, :2] * singular[:2] * signs, shares


def _sample(n_rows: int, most: int) -> npt.NDArray[np.int64]:
    """Rows to draw: all of them, or some of a larger set, always the same."""
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).choice(n_rows, most, replace=False))


def _short(name: str) -> str:
    # Matplotlib takes dollars for mathematics and leaves out labels that begin with an underscore.
    plain = name.replace("$", r"\$").lstrip("_") or "?"
    return plain if len(plain) <= _LABEL_WIDTH else plain[: _LABEL_WIDTH - 1] + "…"


def _canvas(height_in: float = _HEIGHT_IN) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    # Not through pyplot: that keeps every figure in global state, and runs share a process.
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = BytesIO()
    # A quarter of the bytes, which stay in Dagster's records of every build for a month.
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
    return file.getvalue()
