"""Commands that take tracks in and compute: scan, run, retry and backfill."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from audio_assets.cli.opening import absolute_model, existing_data, open_library, open_model, open_warehouse
from audio_assets.cli.options import (
    DEFAULT_DATA,
    DataDir,
    LibraryDir,
    ManifestFile,
    ModelName,
    Offline,
    OnlyPath,
    Workers,
)
from audio_assets.cli.printing import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_ANALYSED,
    err,
    fail,
    out,
    print_rows,
)
from audio_assets.cli.state import print_state
from audio_assets.embeddings import DEFAULT_MODEL_ID

if TYPE_CHECKING:
    from audio_assets.library import Entry
    from audio_assets.outstanding import Work
    from audio_assets.pipeline import RunReport

_SCAN_MEMORY_MB = 1000
_SCAN_TIMEOUT_S = 600.0
_SHOWN = 20


def scan(library: LibraryDir, manifest: ManifestFile = None, data: DataDir = DEFAULT_DATA) -> None:
    """Look at the library and say what a run would take in; writes nothing."""
    from audio_assets.audio import IsolatedPool
    from audio_assets.cores import usable_cores
    from audio_assets.intake import take_in

    tracks = open_library(library, manifest)
    with IsolatedPool(
        workers=usable_cores(), timeout_s=_SCAN_TIMEOUT_S, memory_limit_mb=_SCAN_MEMORY_MB
    ) as pool:
        intake = take_in(
            open_warehouse(data).record,
            tracks.root_path,
            tracks.manifest_path,
            tracks.limits,
            pool.map_unordered,
            batch_size=tracks.batch_size,
            dry_run=True,
        )
    for step, rows in intake.steps.items():
        out.print(f"{rows:>8}  {escape(step)}")
    print_rows(("status", "tracks"), intake.statuses.most_common())
    if intake.failures:
        print_rows(("reason", "tracks"), intake.failures.most_common())
        for entry in [entry for entry in intake.ledger if entry.failure_code][:_SHOWN]:
            out.print(escape(f"  {entry.song_id}: {entry.failure_code}: {entry.failure_message}"))
    out.print(
        f"A run would take in {intake.n_new} new tracks, {intake.n_changed} changed, {intake.n_moved} moved."
    )


def run(
    library: LibraryDir,
    manifest: ManifestFile = None,
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
    offline: Offline = False,
    workers: Workers = 0,
    only_new: Annotated[
        bool,
        typer.Option("--only-new", help="Only tracks never analysed; not what is stale by bytes or version."),
    ] = False,
    path: OnlyPath = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compute again what is up to date, all of it or below --path.")
    ] = False,
) -> None:
    """Compute all that is new or changed, check it, and publish the tables."""
    from audio_assets.outstanding import never_analysed, results

    if only_new and force:
        raise typer.BadParameter("--only-new and --force contradict each other")
    is_below = _below(library, path)
    warehouse = open_warehouse(data)

    def wanted(work: "Work") -> bool:
        chosen = path is None or any(is_below(track) for track in work.tracks)
        return chosen and (not only_new or never_analysed(warehouse, work))

    anew = results(warehouse, is_below) if force else {}
    if force:
        out.print(f"{_n_tracks(anew)} results are computed again.")
    run_pipeline(library, manifest, data, clap_model, offline, workers, wanted, anew)


def retry(
    library: LibraryDir,
    manifest: ManifestFile = None,
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
    offline: Offline = False,
    workers: Workers = 0,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Analyse again all tracks that failed, for whatever reason."),
    ] = False,
) -> None:
    """Try again, in this terminal, what the automation has given up; with --failed, every track that failed.

    Tracks that failed for a passing reason are tried again by every run and backfill anyway.
    """
    from audio_assets.attempts import forget_attempts
    from audio_assets.outstanding import results

    warehouse = open_warehouse(existing_data(data))
    forget_attempts(warehouse.path)
    anew = results(warehouse, lambda _: True, only_failed=True) if failed else {}
    if failed:
        out.print(f"{_n_tracks(anew)} failures are looked at again.")
    run_pipeline(library, manifest, data, clap_model, offline, workers, lambda _: True, anew)


def backfill(
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be launched.")] = False,
) -> None:
    """Launch a backfill of all missing, failed and stale batches, in the daemon that runs over the data."""
    from audio_assets.automation.on_demand import NoDaemonError, backfill_now
    from audio_assets.pipeline import open_instance

    warehouse = open_warehouse(existing_data(data))
    # By the daemon's name for it, and set as in the daemon: else all of the embeddings would look stale.
    model = open_model(absolute_model(clap_model))
    with open_instance(warehouse.path) as instance:
        try:
            planned, launched = backfill_now(instance, warehouse, model, dry_run=dry_run)
        except NoDaemonError as error:
            fail(str(error))
    for batch in sorted({work.batch for work in planned.launched}):
        of_batch = [work for work in planned.launched if work.batch == batch]
        out.print("  " + batch + ": " + ", ".join(f"{len(w.tracks)} tracks of {w.table}" for w in of_batch))
    out.print(escape(f"{planned}."))
    if launched:
        out.print(f"Launched backfill {' and '.join(launched)}; the UI shows it under Runs, Backfills.")


def run_pipeline(
    library: Path,
    manifest: Path | None,
    data: Path,
    clap_model: str,
    offline: bool,
    workers: int,
    wanted: Callable[["Work"], bool],
    anew: Mapping[tuple[str, str], list[str]],
) -> None:
    """Run the pipeline in this terminal, say what came of it, and exit as it went."""
    from audio_assets.pipeline import Pipeline, open_instance
    from audio_assets.progress_bar import progress_bar
    from resources.analysis_pool import AnalysisPool

    model = open_model(clap_model, offline=offline)
    warehouse = open_warehouse(data)
    warehouse.prepare()
    out.print(f"Looking at {escape(str(library))} ...")
    with open_instance(warehouse.path) as instance, progress_bar(err) as progress:
        pipeline = Pipeline(
            library=open_library(library, manifest),
            warehouse=warehouse,
            clap_model=model,
            analysis_pool=AnalysisPool(workers=workers),
            progress=progress,
        )
        try:
            report = pipeline.run(instance, wanted, anew)
        except KeyboardInterrupt:
            err.print("Interrupted. What was finished is kept; run again to go on.")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    _print_report(report)
    counts = print_state(warehouse.path)
    if counts["audio_features"] + counts["clap_embeddings"] == 0 and not report.left_to_others:
        err.print("No track could be analysed; the failures above say why.")
        raise typer.Exit(EXIT_NOTHING_ANALYSED)
    if not report.succeeded:
        raise typer.Exit(EXIT_FAILED)


def _print_report(report: "RunReport") -> None:
    lines = (
        f"check {evaluation.severity.value} {evaluation.asset_key.to_user_string()}."
        f"{evaluation.check_name}: {evaluation.description or 'failed'}"
        for evaluation in report.failed_checks
    )
    for line in dict.fromkeys(lines):  # the model's health is the same in each batch
        err.print(escape(line))
    n_errors = len(report.errors)
    n_warnings = len(report.failed_checks) - n_errors
    out.print(f"Checks: {report.passed_checks} passed, {n_warnings} warned, {n_errors} failed.")
    if n_left := len(report.left_to_others):
        batches = "1 batch is" if n_left == 1 else f"{n_left} batches are"
        out.print(f"{batches} being computed by the daemon or another run; not waited for. See 'status'.")
    for problem in report.failed_jobs:
        err.print(escape(f"FAILED {problem}"))


def _n_tracks(anew: Mapping[tuple[str, str], list[str]]) -> int:
    return sum(map(len, anew.values()))


def _below(library: Path, path: Path | None) -> Callable[["Entry"], bool]:
    """Whether a track lies at or below a path of the library; relative paths are below the library."""
    if path is None:
        return lambda _: True
    root = library.resolve()
    wanted = (root / path).resolve()
    if not wanted.is_relative_to(root) or not wanted.exists():
        raise typer.BadParameter(f"there is no {path} below {library}", param_hint="--path")
    return lambda track: track.file_path is not None and (root / track.file_path).is_relative_to(wanted)
