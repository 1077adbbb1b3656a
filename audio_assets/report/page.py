"""The report as HTML: one file that asks for nothing else, and in which no text of the user's is markup.

What belongs here: filling the template. What does not: the words and the looks (``page.html``).
"""

import base64
import datetime as dt
from importlib import metadata
from itertools import groupby

from audio_assets import plots
from audio_assets.report.charts import histogram, spectrum
from audio_assets.report.columns import ColumnSummary, concerns
from audio_assets.report.contents import SAMPLE_SEED, SAMPLED_TRACKS, Contents

_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_NOTHING = "–"  # noqa: RUF001 - a dash stands for no number


def render(contents: Contents, generation: str, made_at: dt.datetime) -> str:
    """Make the page.

    Parameters
    ----------
    contents : Contents
        What it says.
    generation : str
        Name of the generation that was read.
    made_at : datetime
        When.

    Returns
    -------
    str
        HTML that asks for nothing from anywhere and runs no script: its own policy forbids both.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("audio_assets.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, whole=_whole)
    return environment.get_template("page.html").render(
        contents=contents,
        generation=generation,
        made_at=made_at.strftime("%Y-%m-%d %H:%M UTC"),
        version=metadata.version("audio-assets"),
        families=[(name, list(columns)) for name, columns in groupby(contents.columns, _family)],
        concerned=[(column, list(concerns(column))) for column in contents.columns if any(concerns(column))],
        missing_keys=[_TONICS[semitone] for semitone in contents.missing_tonics],
        histogram=histogram,
        spectrum=spectrum(
            [("raw", contents.raw.singular_shares), ("centred", contents.centred.singular_shares)]
        ),
        pictures=_pictures(contents),
        sampled_tracks=SAMPLED_TRACKS,
        sample_seed=SAMPLE_SEED,
    )


def _pictures(contents: Contents) -> dict[str, str | None]:
    drawn = {
        "tempi": plots.tempo_histogram(contents.tempo_bpm),
        "keys": plots.key_distribution(*contents.key),
        "cosines": plots.cosine_histogram(contents.raw.vectors, contents.centred.vectors),
    }
    return {
        name: f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else None
        for name, png in drawn.items()
    }


def _family(column: ColumnSummary) -> str:
    return column.feature.family


def _number(value: float | None) -> str:
    """Four digits, which is more than the eye takes from a report."""
    return _NOTHING if value is None or value != value else f"{value:,.4g}"


def _whole(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:,.0f}"
