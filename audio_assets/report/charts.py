"""Pictures in SVG, which take their colours from the page and so its light or dark.

What belongs here: numbers in, markup out, with a description for those who cannot see it. What does not:
pictures that the UI shows too (``plots``).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from audio_assets.report.columns import ColumnSummary

_WIDTH, _HEIGHT = 240, 64
_PLOT_WIDTH, _PLOT_HEIGHT = 640, 240
_LEFT, _BOTTOM, _TOP = 52, 34, 10
#: Shares below are drawn at the bottom.
_SMALLEST_SHARE = 1e-6
_DECADES = 6


def histogram(column: ColumnSummary) -> Markup:
    """Draw the distribution of one feature.

    Parameters
    ----------
    column : ColumnSummary
        With its counts.

    Returns
    -------
    Markup
        An SVG element; without bars where there is no value.
    """
    step = _WIDTH / len(column.counts)
    scale = (_HEIGHT - 4) / max(1, column.counts.max())
    bars = Markup("").join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            number * step, _HEIGHT - 1 - height, step - 1, height
        )
        for number, height in enumerate((column.counts * scale).tolist())
        if height
    )
    described = (
        f"Histogram of {column.feature.name}: from {column.low:.4g} over the median {column.median:.4g} "
        f"to {column.high:.4g}"
    )
    return _svg(_WIDTH, _HEIGHT, described, bars + _line(0, _HEIGHT - 0.5, _WIDTH, _HEIGHT - 0.5))


def spectrum(series: Sequence[tuple[str, npt.NDArray[np.float64]]]) -> Markup:
    """Draw singular values on a logarithmic scale.

    Parameters
    ----------
    series : sequence of (str, ndarray of float64)
        Name and shares, largest first; two at most have a colour of their own.

    Returns
    -------
    Markup
        An SVG element.
    """
    longest = max(2, *(len(shares) for _, shares in series))
    inner = _PLOT_WIDTH - _LEFT - 10
    parts = [_decade(exponent) for exponent in range(_DECADES + 1)]
    for number, (name, shares) in enumerate(series):
        x = _LEFT + np.arange(len(shares)) * inner / (longest - 1)
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, _height_of(shares), strict=True))
        parts.append(Markup('<polyline class="s{}" points="{}"/>').format(number, path))
        parts.append(_text(_PLOT_WIDTH - 12, 24 + 18 * number, name, f"end s{number}"))
    parts += [
        _text(_LEFT, _PLOT_HEIGHT - 18, "1"),
        _text(_PLOT_WIDTH - 10, _PLOT_HEIGHT - 18, longest, "end"),
    ]
    parts.append(_text(_LEFT + inner / 2, _PLOT_HEIGHT - 4, "singular value, largest first", "middle"))
    described = "Share of the sum that each singular value has. " + "; ".join(
        f"{name}: the largest has {shares[0]:.1%}" for name, shares in series if len(shares)
    )
    return _svg(_PLOT_WIDTH, _PLOT_HEIGHT, described, Markup("").join(parts))


def _height_of(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    decades = -np.log10(np.clip(shares, _SMALLEST_SHARE, 1))
    height: npt.NDArray[np.float64] = _TOP + decades / _DECADES * (_PLOT_HEIGHT - _BOTTOM - _TOP)
    return height


def _decade(exponent: int) -> Markup:
    height = float(_height_of(np.array([10.0**-exponent]))[0])
    return _line(_LEFT, height, _PLOT_WIDTH - 10, height) + _text(
        _LEFT - 6, height + 4, f"1e-{exponent}" if exponent else "1", "end"
    )


def _svg(width: int, height: int, described: str, inside: Markup) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">{}</svg>'
    ).format(width, height, described, inside)


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}"/>').format(x1, y1, x2, y2)


def _text(x: float, y: float, text: object, classes: str = "") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format(x, y, classes, text)
