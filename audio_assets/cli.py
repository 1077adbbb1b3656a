"""The command line: the same assets, run and read from a terminal.

What belongs here: options, printing, exit codes. What does not: anything a UI run would also need.
"""

import csv
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from audio_assets.embeddings import DEFAULT_MODEL_ID

if TYPE_CHECKING:
    from audio_assets.library import Entry
    from audio_assets.outstanding import Work
    from audio_assets.pipeline import RunReport
    from resources.clap_model import ClapModel
    from resources.track_library import TrackLibrary
    from resources.warehouse import Warehouse

EXIT_FAILED = 1
EXIT_NOTHING_ANALYSED = 3
EXIT_INTERRUPTED = 130

_SCAN_MEMORY_MB = 1000
_SCAN_TIMEOUT_S = 600.0
_SHOWN = 20
_SHOWN_ITEMS = 4
_MINUTE_S = 60
_HOUR_S = 3600


class OutputFormat(StrEnum):
    """How query results are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class ServerPart(StrEnum):
    """What `ui` starts."""

    ALL = "all"
    WEB = "web"
    DAEMON = "daemon"


app = typer.Typer(
    name="audio-assets",
    help="Turn a music library into tables: audio features, CLAP embeddings and a retrieval index.\n\n"
    "Exit codes: 0 all well; 1 something failed; 2 wrong usage; 3 no track could be analysed; "
    "130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
model_app = typer.Typer(
    help="The CLAP model: pull it, judge it.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(model_app, name="model")

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)

DataDir = Annotated[
    Path,
    typer.Option(
        "--data", envvar="AUDIO_ASSETS_DATA", help="Data folder: record, warehouse.duckdb, exports."
    ),
]
LibraryDir = Annotated[
    Path,
    typer.Option(
        "--library",
        envvar="AUDIO_ASSETS_LIBRARY",
        help="Library root. Only files below it are read.",
        exists=True,
        file_okay=False,
    ),
]
ManifestFile = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        envvar="AUDIO_ASSETS_MANIFEST",
        help="CSV with song_id and audio_path, or a TOML preprocessing recipe. Default: scan the library.",
        exists=True,
        dir_okay=False,
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--clap-model",
        envvar="AUDIO_ASSETS_CLAP_MODEL",
        help="Model id on the hub, or a local folder. In the environment, "
        "AUDIO_ASSETS_CLAP_PRECISION, _BACKEND, _WINDOWS, _DEVICE and _STRICT say the rest.",
    ),
]
OnlyPath = Annotated[
    Path | None,
    typer.Option(
        "--path", help="Only batches with tracks below this folder, or this one file, of the library."
    ),
]
Workers = Annotated[int, typer.Option(help="Worker processes; 0 for one a core.", min=0)]
DEFAULT_DATA = Path("data")


@app.command()
def scan(library: LibraryDir, manifest: ManifestFile = None, data: DataDir = DEFAULT_DATA) -> None:
    """Look at the library and say what a run would take in; writes nothing."""
    from audio_assets.audio import IsolatedPool
    from audio_assets.cores import usable_cores
    from audio_assets.intake import take_in

    tracks = _library(library, manifest)
    with IsolatedPool(
        workers=usable_cores(), timeout_s=_SCAN_TIMEOUT_S, memory_limit_mb=_SCAN_MEMORY_MB
    ) as pool:
        intake = take_in(
            _warehouse(data).record,
            tracks.root_path,
            tracks.manifest_path,
            tracks.limits,
            pool.map_unordered,
            batch_size=tracks.batch_size,
            dry_run=True,
        )
    for step, rows in intake.steps.items():
        out.print(f"{rows:>8}  {escape(step)}")
    _print_rows(("status", "tracks"), intake.statuses.most_common())
    if intake.failures:
        _print_rows(("reason", "tracks"), intake.failures.most_common())
        for entry in [entry for entry in intake.ledger if entry.failure_code][:_SHOWN]:
            out.print(escape(f"  {entry.song_id}: {entry.failure_code}: {entry.failure_message}"))
    out.print(
        f"A run would take in {intake.n_new} new tracks, {intake.n_changed} changed, {intake.n_moved} moved."
    )


@app.command()
def run(
    library: LibraryDir,
    manifest: ManifestFile = None,
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a model.")] = False,
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
    warehouse = _warehouse(data)

    def wanted(work: "Work") -> bool:
        chosen = path is None or any(is_below(track) for track in work.tracks)
        return chosen and (not only_new or never_analysed(warehouse, work))

    anew = results(warehouse, is_below) if force else {}
    if force:
        out.print(f"{_n_tracks(anew)} results are computed again.")
    _run_pipeline(library, manifest, data, clap_model, offline, workers, wanted, anew)


@app.command()
def retry(
    library: LibraryDir,
    manifest: ManifestFile = None,
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
    offline: Annotated[bool, typer.Option("--offline", help="Never download a model.")] = False,
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

    warehouse = _warehouse(_existing(data))
    forget_attempts(warehouse.path)
    anew = results(warehouse, lambda _: True, only_failed=True) if failed else {}
    if failed:
        out.print(f"{_n_tracks(anew)} failures are looked at again.")
    _run_pipeline(library, manifest, data, clap_model, offline, workers, lambda _: True, anew)


@app.command()
def backfill(
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be launched.")] = False,
) -> None:
    """Launch a backfill of all missing, failed and stale batches, in the daemon that runs over the data."""
    from audio_assets.automation.on_demand import NoDaemonError, backfill_now
    from audio_assets.pipeline import open_instance

    warehouse = _warehouse(_existing(data))
    # By the daemon's name for it, and set as in the daemon: else all of the embeddings would look stale.
    model = _clap_model(_model_name(clap_model))
    with open_instance(warehouse.path) as instance:
        try:
            planned, backfill_id = backfill_now(instance, warehouse, model, dry_run=dry_run)
        except NoDaemonError as error:
            _fail(str(error))
    for batch in sorted({work.batch for work in planned.launched}):
        of_batch = [work for work in planned.launched if work.batch == batch]
        out.print("  " + batch + ": " + ", ".join(f"{len(w.tracks)} tracks of {w.table}" for w in of_batch))
    out.print(escape(f"{planned}."))
    if backfill_id:
        out.print(f"Launched backfill {backfill_id}; the UI shows it under Runs, Backfills.")


def _run_pipeline(
    library: Path,
    manifest: Path | None,
    data: Path,
    clap_model: str,
    offline: bool,
    workers: int,
    wanted: Callable[["Work"], bool],
    anew: Mapping[tuple[str, str], list[str]],
) -> None:
    from audio_assets.pipeline import Pipeline, open_instance
    from audio_assets.progress_bar import progress_bar
    from resources.analysis_pool import AnalysisPool

    model = _clap_model(clap_model, offline=offline)
    warehouse = _warehouse(data)
    warehouse.prepare()
    out.print(f"Looking at {escape(str(library))} ...")
    with open_instance(warehouse.path) as instance, progress_bar(err) as progress:
        pipeline = Pipeline(
            library=_library(library, manifest),
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
    counts = _print_state(warehouse.path)
    if counts["audio_features"] + counts["clap_embeddings"] == 0 and not report.left_to_others:
        err.print("No track could be analysed; the failures above say why.")
        raise typer.Exit(EXIT_NOTHING_ANALYSED)
    if not report.succeeded:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def status(data: DataDir = DEFAULT_DATA) -> None:
    """Say what is done, pending, failed and running, and how long it will take."""
    folder = _existing(data)
    _print_state(folder)
    _print_activity(folder)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SQL query, or - to read it from standard input.")] = "-",
    data: DataDir = DEFAULT_DATA,
    live: Annotated[
        bool, typer.Option("--live", help="Ask the record as it is now, not the last published generation.")
    ] = False,
    output: Annotated[
        OutputFormat, typer.Option("--format", help="How rows are printed.")
    ] = OutputFormat.TABLE,
) -> None:
    """Query the tables: manifest, audio_features, clap_embeddings, track_failures, batches and the rest.

    A worked query from a file: audio-assets sql < examples/sql/01_library_overview.sql
    """
    import duckdb

    from audio_assets.warehouse import LINK_NAME, open_live

    text = sys.stdin.read() if query == "-" else query
    folder = _existing(data)
    published = folder / LINK_NAME
    if not live and not published.exists():
        _fail(f"nothing is published in {folder} yet; run 'audio-assets run', or ask the record with --live")
    try:
        with (
            open_live(_warehouse(data).record)
            if live
            else duckdb.connect(str(published.resolve()), read_only=True)
        ) as connection:
            cursor = connection.execute(text)
            names = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall()
    except duckdb.Error as error:
        _fail(str(error))
    _print_result(names, rows, output)


@app.command()
def versions(data: DataDir = DEFAULT_DATA) -> None:
    """List the published generations that are kept, and say which one readers get."""
    from audio_assets.warehouse import list_generations

    generations = list_generations(_existing(data))
    if not generations:
        _fail("nothing is published yet; run 'audio-assets run'")
    rows = [
        (kept.name, f"{kept.path.stat().st_size / 1e6:.1f}", _state_of(kept.is_read, kept.is_pinned))
        for kept in generations
    ]
    _print_rows(("generation", "MB", "state"), rows)


@app.command()
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

    folder = _existing(data)
    if release and version:
        raise typer.BadParameter("takes no version", param_hint="--release")
    try:
        read = warehouse.release(folder) if release else warehouse.roll_back(folder, version)
    except warehouse.RollbackError as error:
        _fail(str(error))
    out.print(f"Readers get generation {read.name}.")
    if read.is_pinned:
        out.print("They stay there until 'audio-assets rollback --release'; new generations wait beside it.")


@app.command()
def maintain(
    data: DataDir = DEFAULT_DATA,
    keep_days: Annotated[
        int, typer.Option(help="Age from which superseded Dagster runs are removed.", min=1)
    ] = 30,
) -> None:
    """Remove what nobody needs any more; safe at any time, beside readers and runs."""
    from audio_assets.maintenance import prune_runs
    from audio_assets.pipeline import open_instance

    folder = _existing(data)
    swept = _warehouse(data).sweep()
    with open_instance(folder) as instance:
        pruned = prune_runs(instance, keep_days)
    rows = [*((what, len(paths)) for what, paths in swept.removed.items()), ("run records", len(pruned))]
    _print_rows(("removed", "number"), rows)
    out.print(f"{swept.freed_bytes / 1e6:.1f} MB freed.")


@app.command()
def ui(
    library: LibraryDir,
    manifest: ManifestFile = None,
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
    host: Annotated[str, typer.Option(help="Address to listen on. The UI has no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
    part: Annotated[
        ServerPart, typer.Option(help="Both, or one of them, where something else starts the other.")
    ] = ServerPart.ALL,
    automation: Annotated[
        bool | None,
        typer.Option(
            "--automation/--no-automation",
            help="Start sensors and schedule. Default: AUDIO_ASSETS_AUTOMATION.",
        ),
    ] = None,
) -> None:
    """Open the Dagster UI and its daemon over a library."""
    from audio_assets.definitions import DATA_VARIABLE, LIBRARY_VARIABLE, MANIFEST_VARIABLE, MODEL_VARIABLE
    from audio_assets.pipeline import dagster_home

    folder = data.expanduser().resolve()
    _clap_model(clap_model)  # a mistake is better told here than by a page that does not load
    environment = {
        **os.environ,
        DATA_VARIABLE: str(folder),
        LIBRARY_VARIABLE: str(library.resolve()),
        MANIFEST_VARIABLE: str(manifest.resolve()) if manifest else "",
        MODEL_VARIABLE: _model_name(clap_model),
        "DAGSTER_HOME": str(dagster_home(folder)),
        # Else a file of the user's folder, say types.py, would stand in for a module of Dagster's.
        "PYTHONSAFEPATH": "1",
    }
    if automation is not None:
        environment["AUDIO_ASSETS_AUTOMATION"] = "on" if automation else "off"
    code, address = ["-m", "audio_assets.definitions"], ["-h", host, "-p", str(port)]
    module = {
        ServerPart.ALL: ["dagster", "dev", *code, *address],
        ServerPart.WEB: ["dagster_webserver", *code, *address],
        ServerPart.DAEMON: ["audio_assets.daemon", "run", *code],
    }[part]
    command = [sys.executable, "-m", *module]
    # A script's shell starts what it puts into the background without them, and Dagster could not be stopped.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execve(sys.executable, command, environment)  # noqa: S606


@app.command()
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
    for finding in examine(data, library, _clap_model(clap_model)):
        mark = {True: "ok  ", False: "BAD ", None: "note"}[finding.good]
        out.print(escape(f"{mark} {finding.subject}: {finding.detail}"))
        all_well &= finding.good is not False
    if not all_well:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def demo(data: DataDir = DEFAULT_DATA) -> None:
    """Make a small demo library and model, run everything over it, and show what came out."""
    from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
    from audio_assets.demo.library import make_demo_library
    from audio_assets.demo.tour import show

    folder = data.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    out.print("Making the demo library: 24 synthesised tracks in wav, flac, ogg and mp3 ...")
    library = make_demo_library(folder / "demo")
    model = copy_demo_checkpoint(folder / "demo-clap")
    _run_pipeline(library / "audio", None, data, str(model), True, 0, lambda _: True, {})
    show(out, folder, library / "truth.csv")


@app.command()
def search(
    text: Annotated[str, typer.Option("--text", help="What to look for, in English.")],
    limit: Annotated[int, typer.Option("-k", help="Tracks wanted.", min=1)] = 10,
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
) -> None:
    """Find the tracks that are nearest to a text, with the model the index was made with."""
    from audio_assets.embeddings import ModelError
    from audio_assets.retrieval import QueryError
    from audio_assets.search import SearchRefusedError, search_text

    record = _warehouse(_existing(data)).record
    model = _clap_model(clap_model)
    try:
        hits = search_text(record, model, text, limit)
        concerns = model.concerns()
    except (ModelError, QueryError, SearchRefusedError) as error:
        _fail(str(error))
    for concern in concerns:
        err.print(f"WARNING {escape(concern)}")
    rows = ((rank, hit.song_id, hit.title, f"{hit.score:.3f}") for rank, hit in enumerate(hits, start=1))
    _print_rows(("rank", "song_id", "track", "score"), rows)
    out.print("Scores rank tracks for this text. They do not say how well a track fits it.")


ModelArgument = Annotated[
    str,
    typer.Argument(
        envvar="AUDIO_ASSETS_CLAP_MODEL", help="Model id on the hub, or a local folder.", metavar="MODEL"
    ),
]
Revision = Annotated[
    str, typer.Option(help="Commit of the hub's repository; left out, the one a known model is pinned to.")
]


@model_app.command()
def pull(model: ModelArgument = DEFAULT_MODEL_ID, revision: Revision = "") -> None:
    """Fetch a model once, verified and as safetensors; later runs need no network."""
    from audio_assets.embeddings import ModelError
    from resources.clap_model import ClapModel

    try:
        checkpoint = ClapModel(model_id=model, revision=revision).checkpoint()
    except ModelError as error:
        _fail(str(error))
    size_mb = checkpoint.weights_path.stat().st_size / 1e6
    out.print(escape(f"model     {checkpoint.model_id}@{checkpoint.revision}"))
    out.print(escape(f"folder    {checkpoint.path}"))
    out.print(
        f"weights   {checkpoint.weights_path.name}, {size_mb:.1f} MB, sha256 {checkpoint.weights_sha256}"
    )
    out.print(escape(f"verified  against {checkpoint.verified_by}"))


@model_app.command()
def check(model: ModelArgument = DEFAULT_MODEL_ID, revision: Revision = "") -> None:
    """Measure whether a model looks trained. Exit code 1 where it does not."""
    from audio_assets.embeddings import ModelError
    from resources.clap_model import ClapModel

    clap_model = ClapModel(model_id=model, revision=revision, offline=True)
    try:
        health, concerns = clap_model.health(), clap_model.concerns()
    except ModelError as error:
        _fail(str(error))
    measures = health.measures
    rows = ((m.name, f"{m.value:.4g}", m.limit, "UNTRAINED" if m.problem else "ok") for m in measures)
    _print_rows(("figure", "value", "should be", "verdict"), rows)
    for concern in concerns:
        err.print(f"WARNING {escape(concern)}")
    if health.problems:
        raise typer.Exit(EXIT_FAILED)
    out.print("No sign of an untrained model. That is not to say that it is a good one.")


def main() -> None:
    """Run the command line; configuration errors end in one sentence, not in a traceback."""
    from audio_assets.environment import SettingError
    from audio_assets.library import LibraryVanishedError, ManifestError
    from audio_assets.warehouse import StorageError

    try:
        app()
    except (ManifestError, LibraryVanishedError, SettingError, StorageError) as error:
        err.print(f"error: {escape(str(error))}")
        sys.exit(EXIT_FAILED)
    except Exception as error:
        refusal = _database_refusal(error)
        if refusal is None:
            raise
        err.print(f"error: {escape(refusal)}")
        sys.exit(EXIT_FAILED)


def _database_refusal(error: BaseException | None) -> str | None:
    """Say in a sentence that Dagster's database found the disk full or read-only; None for other errors."""
    read_only = (
        "Dagster's run records (dagster/ of the data) cannot be written to. "
        "Mount it read-write, or give it to the user that runs audio-assets, and run again"
    )
    refusals = {
        sqlite3.SQLITE_FULL: "No space left on device for Dagster's run records (dagster/ of the data). "
        "Free some and run again; finished tracks are kept",
        sqlite3.SQLITE_READONLY: read_only,
        sqlite3.SQLITE_CANTOPEN: read_only,  # even to read, a file beside the database has to be made
        # What SQLite says where not even the file that readers share can grow.
        sqlite3.SQLITE_IOERR: "Dagster's run records (dagster/ of the data) cannot be read. If the disk is "
        "full, free some and run again; finished tracks are kept",
    }
    while error is not None:
        if isinstance(error, sqlite3.Error):
            return refusals.get(error.sqlite_errorcode & 0xFF)  # the rest is an extended code
        error = error.__cause__ or error.__context__
    return None


def _library(root: Path, manifest: Path | None) -> "TrackLibrary":
    from resources.track_library import TrackLibrary

    return TrackLibrary(root=str(root.resolve()), manifest=str(manifest.resolve()) if manifest else None)


def _warehouse(data: Path) -> "Warehouse":
    from resources.warehouse import warehouse_from_environment

    return warehouse_from_environment(data)


def _clap_model(name: str, *, offline: bool = True) -> "ClapModel":
    from resources.clap_model import ModelSettingError, clap_model_from_environment

    _refuse_missing_folder(name)
    try:
        return clap_model_from_environment(model_id=name, offline=offline)
    except ModelSettingError as error:
        raise typer.BadParameter(str(error)) from error


def _model_name(name: str) -> str:
    """Name a folder absolutely, since the UI's processes may run elsewhere."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _refuse_missing_folder(model: str) -> None:
    """Refuse a path that is not there: else it would be missed on the hub, after all features were made."""
    looks_like_path = model.startswith((".", "/", "~")) or model.count("/") > 1
    if looks_like_path and not Path(model).expanduser().is_dir():
        raise typer.BadParameter(f"there is no folder {model}", param_hint="--clap-model")


def _existing(data: Path) -> Path:
    folder = data.expanduser().resolve()
    if not (folder / "record").is_dir():
        _fail(f"{folder} is not a data folder yet; 'audio-assets run' makes one")
    return folder


def _fail(message: str) -> NoReturn:
    err.print(f"error: {escape(message)}")
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


def _print_state(data: Path) -> dict[str, int]:
    """Print counts, failures and unfinished batches of the live record; return the rows of each table."""
    from audio_assets.warehouse import LINK_NAME, PUBLISHED, Record, open_live, pinned_generation

    with open_live(Record(data / "record")) as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query).fetchall()

        counts = {name: int(rows(f"SELECT count(*) FROM {name}")[0][0]) for name in PUBLISHED}  # noqa: S608
        statuses = rows("SELECT status, count(*) FROM manifest GROUP BY status ORDER BY status")
        failures = rows("SELECT stage, code, count(*) FROM track_failures GROUP BY ALL ORDER BY ALL")
    _print_rows(("track status", "tracks"), statuses)
    _print_rows(("table", "rows"), sorted(counts.items()))
    if failures:
        _print_rows(("failed in", "reason", "tracks"), failures)
    link = data / LINK_NAME
    is_published = link.is_symlink()
    out.print(
        escape(f"Published: {link} -> {link.readlink()}") if is_published else "Nothing is published yet."
    )
    if held_at := pinned_generation(data):
        out.print(f"A rollback holds readers at {held_at}; 'audio-assets rollback --release' ends it.")
    return counts


def _n_tracks(anew: Mapping[tuple[str, str], list[str]]) -> int:
    return sum(map(len, anew.values()))


def _state_of(is_read: bool, is_pinned: bool) -> str:
    if is_pinned:
        return "read, held here by a rollback"
    return "read" if is_read else ""


def _print_activity(data: Path) -> None:
    """Print what is pending, for how long yet, and what is at work on it."""
    from audio_assets.attempts import Attempts
    from audio_assets.automation import AutomationSettings
    from audio_assets.automation.backfills import unfinished_targets
    from audio_assets.automation.on_demand import activity
    from audio_assets.gate import BATCHED, describe, unproven
    from audio_assets.outstanding import outstanding_as_recorded
    from audio_assets.pipeline import open_instance
    from audio_assets.warehouse import measured_rate

    warehouse = _warehouse(data)
    with open_instance(data) as instance:
        busy = unfinished_targets(instance)
        work = outstanding_as_recorded(instance, warehouse, busy)
        held_back = unproven(instance, warehouse.record, without=busy)
        going_on = activity(instance)
    given_up = Attempts(data, AutomationSettings.from_environment().most_attempts).given_up(work)
    rows = []
    for table in BATCHED:
        n_pending = sum(len(item.tracks) for item in work if item.table == table)
        rate = measured_rate(warehouse.record, table)
        n_batches = sum(item.table == table for item in work)
        rows.append((table, n_pending, n_batches, _rate(rate), _eta(n_pending, rate)))
    _print_rows(("pending in", "tracks", "batches", "rate", "time to go"), rows)
    for item in given_up[:_SHOWN]:
        what = f"{len(item.tracks)} tracks" if item.tracks else "it fails a blocking check"
        out.print(f"Given up: {item.table} of {item.batch}, {what}; see audio-assets retry.")
    if held_back:
        out.print(escape(f"Held back: {describe(held_back)}."))
    for line in going_on:
        out.print(escape(line))


def _rate(tracks_per_s: float | None) -> str:
    return "not measured yet" if tracks_per_s is None else f"{tracks_per_s:.3g} tracks/s"


def _eta(n_tracks: int, tracks_per_s: float | None) -> str:
    if not n_tracks:
        return "done"
    if tracks_per_s is None:
        return "not known yet"
    seconds = n_tracks / tracks_per_s
    if seconds < 2 * _HOUR_S:
        return f"about {max(1, round(seconds / _MINUTE_S))} min"
    return f"about {seconds / _HOUR_S:.1f} h"


def _below(library: Path, path: Path | None) -> Callable[["Entry"], bool]:
    """Whether a track lies at or below a path of the library; relative paths are below the library."""
    if path is None:
        return lambda _: True
    root = library.resolve()
    wanted = (root / path).resolve()
    if not wanted.is_relative_to(root) or not wanted.exists():
        raise typer.BadParameter(f"there is no {path} below {library}", param_hint="--path")
    return lambda track: track.file_path is not None and (root / track.file_path).is_relative_to(wanted)


def _print_rows(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    table = Table(*header, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    out.print(table)


def _print_result(names: list[str], rows: list[tuple[Any, ...]], output: OutputFormat) -> None:
    if output is OutputFormat.TABLE:
        _print_rows(tuple(names), rows)
    elif output is OutputFormat.CSV:
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows(rows)
    elif len(set(names)) < len(names):
        _fail("JSON needs a name of its own for each column; give them with AS")
    else:
        records = [dict(zip(names, row, strict=True)) for row in rows]
        sys.stdout.write(json.dumps(records, default=str, ensure_ascii=False, indent=1) + "\n")


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list) and len(value) > _SHOWN_ITEMS:
        return f"[{', '.join(_cell(item) for item in value[:_SHOWN_ITEMS])}, ... {len(value)} values]"
    return str(value)
