"""Commands on what is published and kept: versions, rollback and maintain."""

from typing import Annotated

import typer

from audio_assets.cli.opening import existing_data, open_warehouse
from audio_assets.cli.options import DEFAULT_DATA, DataDir
from audio_assets.cli.printing import fail, out, print_rows


def versions(data: DataDir = DEFAULT_DATA) -> None:
    """List the published generations that are kept, and say which one readers get."""
    from audio_assets.warehouse import list_generations

    generations = list_generations(existing_data(data))
    if not generations:
        fail("nothing is published yet; run 'audio-assets run'")
    rows = [
        (kept.name, f"{kept.path.stat().st_size / 1e6:.1f}", _state_of(kept.is_read, kept.is_pinned))
        for kept in generations
    ]
    print_rows(("generation", "MB", "state"), rows)


def rollback(
    version: Annotated[
        str | None, typer.Argument(help="A generation that 'versions' lists. Default: the one before.")
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="End the rollback: readers get the newest generation.")
    ] = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Give readers of warehouse.duckdb an older generation at once.

    They stay there, whatever is published meanwhile, until 'audio-assets rollback --release'.
    The record and the files for notebooks are left as they are.
    """
    from audio_assets import warehouse

    folder = existing_data(data)
    if release and version:
        raise typer.BadParameter("takes no version", param_hint="--release")
    try:
        read = warehouse.release(folder) if release else warehouse.roll_back(folder, version)
    except warehouse.RollbackError as error:
        fail(str(error))
    out.print(f"Readers get generation {read.name}.")
    if read.is_pinned:
        out.print("They stay there until 'audio-assets rollback --release'; new generations wait beside it.")


def maintain(
    data: DataDir = DEFAULT_DATA,
    keep_days: Annotated[
        int, typer.Option(help="Age from which superseded Dagster runs are removed.", min=1)
    ] = 30,
) -> None:
    """Remove what nobody needs any more; safe at any time, beside readers and runs."""
    from audio_assets.maintenance import prune_runs
    from audio_assets.pipeline import open_instance

    folder = existing_data(data)
    swept = open_warehouse(data).sweep()
    with open_instance(folder) as instance:
        pruned = prune_runs(instance, keep_days)
    rows = [*((what, len(paths)) for what, paths in swept.removed.items()), ("run records", len(pruned))]
    print_rows(("removed", "number"), rows)
    out.print(f"{swept.freed_bytes / 1e6:.1f} MB freed.")


def _state_of(is_read: bool, is_pinned: bool) -> str:
    if is_pinned:
        return "read, held here by a rollback"
    return "read" if is_read else ""
