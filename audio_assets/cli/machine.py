"""Commands for somebody new: doctor looks this machine over, demo shows what comes out."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from audio_assets.cli.opening import open_model
from audio_assets.cli.options import DEFAULT_DATA, DataDir, ModelName
from audio_assets.cli.printing import EXIT_FAILED, out
from audio_assets.cli.runs import run_pipeline
from audio_assets.embeddings import DEFAULT_MODEL_ID


def doctor(
    data: DataDir = DEFAULT_DATA,
    library: Annotated[
        Path | None,
        typer.Option("--library", envvar="AUDIO_ASSETS_LIBRARY", help="Library root to look at."),
    ] = None,
    clap_model: ModelName = DEFAULT_MODEL_ID,
) -> None:
    """Check this machine: libraries, worker processes, data folder, library and model."""
    from audio_assets.doctor import examine

    all_well = True
    for finding in examine(data, library, open_model(clap_model)):
        mark = {True: "ok  ", False: "BAD ", None: "note"}[finding.good]
        out.print(escape(f"{mark} {finding.subject}: {finding.detail}"))
        all_well &= finding.good is not False
    if not all_well:
        raise typer.Exit(EXIT_FAILED)


def demo(data: DataDir = DEFAULT_DATA) -> None:
    """Make a small demo library and model, run everything over it, and show what came out."""
    from audio_assets.cli.tour import show_tour
    from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
    from audio_assets.demo.library import make_demo_library

    folder = data.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    out.print("Making the demo library: 24 synthesised tracks in wav, flac, ogg and mp3 ...")
    library = make_demo_library(folder / "demo")
    model = copy_demo_checkpoint(folder / "demo-clap")
    run_pipeline(library / "audio", None, data, str(model), True, 0, lambda _: True, {})
    show_tour(folder, library / "truth.csv")
