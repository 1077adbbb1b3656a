"""The command line: the same assets, run and read from a terminal.

What belongs here: options, printing, exit codes. What does not: anything a UI run would also need.
"""

import csv
import json
import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from audio_assets.embeddings import DEFAULT_MODEL_ID

if TYPE_CHECKING:
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
_UNFINISHED_BATCHES = """
SELECT batch, n_live, n_live - n_features - n_feature_failures, n_live - n_embeddings - n_embedding_failures
FROM batches
WHERE n_live > n_features + n_feature_failures OR n_live > n_embeddings + n_embedding_failures
ORDER BY batch
"""


class OutputFormat(StrEnum):
    """How query results are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


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
) -> None:
    """Compute all that is new or changed, check it, and publish the tables."""
    from audio_assets.pipeline import Pipeline, open_instance
    from audio_assets.progress_bar import progress_bar
    from resources.analysis_pool import AnalysisPool

    model = _clap_model(clap_model, offline=offline)
    warehouse = _warehouse(data)
    warehouse.prepare()
    out.print(f"Looking at {library} ...")
    with open_instance(warehouse.path) as instance, progress_bar(err) as progress:
        pipeline = Pipeline(
            library=_library(library, manifest),
            warehouse=warehouse,
            clap_model=model,
            analysis_pool=AnalysisPool(workers=workers),
            progress=progress,
        )
        try:
            report = pipeline.run(instance)
        except KeyboardInterrupt:
            err.print("Interrupted. What was finished is kept; run again to go on.")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    _print_report(report)
    counts = _print_state(warehouse.path)
    if counts["audio_features"] + counts["clap_embeddings"] == 0:
        err.print("No track could be analysed; the failures above say why.")
        raise typer.Exit(EXIT_NOTHING_ANALYSED)
    if not report.succeeded:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def status(data: DataDir = DEFAULT_DATA) -> None:
    """Say what is there, what is pending and what failed."""
    _print_state(_existing(data))


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

    from audio_assets.warehouse import LINK_NAME, connect_live

    text = sys.stdin.read() if query == "-" else query
    folder = _existing(data)
    published = folder / LINK_NAME
    if not live and not published.exists():
        _fail(f"nothing is published in {folder} yet; run 'audio-assets run', or ask the record with --live")
    try:
        with (
            connect_live(_warehouse(data).record)
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
def ui(
    library: LibraryDir,
    manifest: ManifestFile = None,
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
    host: Annotated[str, typer.Option(help="Address to listen on. The UI has no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
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
    arguments = ["-m", "audio_assets.definitions", "-h", host, "-p", str(port)]
    command = [sys.executable, "-m", "dagster", "dev", *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606


@app.command()
def doctor(
    data: DataDir = DEFAULT_DATA,
    library: Annotated[Path | None, typer.Option("--library", help="Library root to look at.")] = None,
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
    run(library / "audio", None, data, str(model), True, 0)
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
    from audio_assets.library import LibraryVanishedError, ManifestError

    try:
        app()
    except (ManifestError, LibraryVanishedError) as error:
        err.print(f"error: {escape(str(error))}")
        sys.exit(EXIT_FAILED)


def _library(root: Path, manifest: Path | None) -> "TrackLibrary":
    from resources.track_library import TrackLibrary

    return TrackLibrary(root=str(root.resolve()), manifest=str(manifest.resolve()) if manifest else None)


def _warehouse(data: Path) -> "Warehouse":
    from resources.warehouse import Warehouse

    return Warehouse(data_dir=str(data))


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
    for problem in report.failed_jobs:
        err.print(escape(f"FAILED {problem}"))


def _print_state(data: Path) -> dict[str, int]:
    """Print counts, failures and unfinished batches of the live record; return the rows of each table."""
    from audio_assets.warehouse import LINK_NAME, PUBLISHED, Record, connect_live

    with connect_live(Record(data / "record")) as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query).fetchall()

        counts = {name: int(rows(f"SELECT count(*) FROM {name}")[0][0]) for name in PUBLISHED}  # noqa: S608
        statuses = rows("SELECT status, count(*) FROM manifest GROUP BY status ORDER BY status")
        failures = rows("SELECT stage, code, count(*) FROM track_failures GROUP BY ALL ORDER BY ALL")
        unfinished = rows(_UNFINISHED_BATCHES)
    _print_rows(("track status", "tracks"), statuses)
    _print_rows(("table", "rows"), sorted(counts.items()))
    if failures:
        _print_rows(("failed in", "reason", "tracks"), failures)
    if unfinished:
        _print_rows(("batch", "live", "features pending", "embeddings pending"), unfinished)
    link = data / LINK_NAME
    out.print(f"Published: {link} -> {link.readlink()}" if link.is_symlink() else "Nothing is published yet.")
    return counts


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
