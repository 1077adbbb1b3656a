"""Commands that show a whole collection: report."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from audio_assets.cli.opening import existing_data
from audio_assets.cli.options import DEFAULT_DATA, DataDir
from audio_assets.cli.printing import fail, out


def report(
    output: Annotated[
        Path | None,
        typer.Option("--output", help="HTML file to write. Default: report.html of the data folder."),
    ] = None,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Write what the published collection is like as one HTML file that needs nothing else."""
    import duckdb

    from audio_assets.report import read_contents, render
    from audio_assets.warehouse import LINK_NAME, atomic_path

    published = (existing_data(data) / LINK_NAME).resolve()
    if not published.exists():
        fail(f"nothing is published in {published.parent} yet; run 'audio-assets run'")
    with duckdb.connect(str(published), read_only=True) as connection:
        contents = read_contents(connection)
    target = (output or published.with_name("report.html")).expanduser()
    with atomic_path(target) as temporary:
        temporary.write_text(render(contents, published.stem, dt.datetime.now(dt.UTC)), encoding="utf-8")
    out.print(escape(f"Wrote {target}, {target.stat().st_size / 1e6:.1f} MB."))
