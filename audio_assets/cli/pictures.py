"""Commands that show a whole collection: report and map."""

import datetime as dt
import os
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.markup import escape

from audio_assets.cli.opening import existing_data, open_library, open_warehouse
from audio_assets.cli.options import DEFAULT_DATA, DataDir
from audio_assets.cli.printing import fail, out

if TYPE_CHECKING:
    from resources.warehouse import Warehouse

_VIEWER = "embedding-atlas"
_EXCERPT_MEMORY_MB = 2000
_EXCERPT_TIMEOUT_S = 300.0


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
    from audio_assets.warehouse import atomic_path

    published = _published(data)
    try:
        with duckdb.connect(str(published), read_only=True) as connection:
            contents = read_contents(connection)
    except duckdb.Error as error:
        _fail_to_read(published, error)
    target = (output or published.with_name("report.html")).expanduser()
    with atomic_path(target) as temporary:
        temporary.write_text(render(contents, published.stem, dt.datetime.now(dt.UTC)), encoding="utf-8")
    out.print(escape(f"Wrote {target}, {target.stat().st_size / 1e6:.1f} MB."))


def show_map(
    data: DataDir = DEFAULT_DATA,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write the map's table to this Parquet file, and stop.")
    ] = None,
    audio: Annotated[
        bool, typer.Option("--audio", help="With ten seconds of each track to listen to; needs --library.")
    ] = False,
    audio_limit_mb: Annotated[
        float, typer.Option(help="Excerpts in all, in 10^6 bytes; later tracks have none.", min=1)
    ] = 500,
    library: Annotated[
        Path | None,
        typer.Option("--library", envvar="AUDIO_ASSETS_LIBRARY", help="Library root, for --audio."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the map, on this machine only.")] = 5055,
) -> None:
    """Show the published collection as a map in the browser: search, colours, neighbours, excerpts.

    Needs the extra 'map'. The first time, and when the index has changed, the map is laid out anew.
    """
    import duckdb
    import pyarrow.parquet as pq

    from audio_assets.map_table import map_table, projection_path
    from audio_assets.projection import MapExtraMissingError
    from audio_assets.warehouse import atomic_path

    if audio and library is None:
        raise typer.BadParameter("needs --library, where the files are", param_hint="--audio")
    if export is None and find_spec("embedding_atlas") is None:
        fail(str(MapExtraMissingError(_VIEWER)))
    published, warehouse = _published(data), open_warehouse(data)
    _lay_out(warehouse)
    excerpts = _excerpts(warehouse, library, audio_limit_mb * 1e6) if audio and library else {}
    try:
        with duckdb.connect(str(published), read_only=True) as connection:
            drawn = map_table(connection, warehouse.record, excerpts)
    except duckdb.CatalogException:
        fail(f"{published.name} was published by an older version: materialise warehouse_tables again")
    except duckdb.Error as error:
        _fail_to_read(published, error)
    # Beside the projection, and so gone with it.
    target = (export or projection_path(warehouse.record).with_name("map.parquet")).expanduser()
    with atomic_path(target) as temporary:
        pq.write_table(drawn.table, temporary, compression="zstd")
    heard = f", {drawn.n_audible} of them with an excerpt" if audio else ""
    out.print(escape(f"{drawn.table.num_rows} tracks{heard} are on the map."))
    if export is None:
        _serve(target, port)
    out.print(escape(f"Wrote {target}."))


def _published(data: Path) -> Path:
    from audio_assets.warehouse import LINK_NAME

    published = (existing_data(data) / LINK_NAME).resolve()
    if not published.exists():
        fail(f"nothing is published in {published.parent} yet; run 'audio-assets run'")
    return published


def _fail_to_read(published: Path, error: Exception) -> NoReturn:
    fail(f"{published} cannot be read: {error}. 'audio-assets rollback' gives readers the one before")


def _lay_out(warehouse: "Warehouse") -> None:
    """Make the projection of the index in force, by its asset, unless there is one."""
    from audio_assets.gate import UnprovenError
    from audio_assets.map_table import NoProjectionError, is_projected
    from audio_assets.pipeline import lay_out, open_instance
    from audio_assets.projection import MapExtraMissingError

    if is_projected(warehouse.record):
        return
    out.print("Laying the tracks out; the first time this takes half a minute and more ...")
    with open_instance(warehouse.path) as instance:
        try:
            lay_out(instance, warehouse)
        except (MapExtraMissingError, NoProjectionError, UnprovenError) as error:
            fail(str(error))


def _excerpts(warehouse: "Warehouse", library: Path, most_bytes: float) -> dict[str, bytes]:
    """Excerpts by track, until they are as many bytes as wanted; tracks that cannot be decoded have none."""
    from audio_assets.audio import IsolatedPool
    from audio_assets.cores import usable_cores
    from audio_assets.map_table import mapped_tracks
    from audio_assets.previews import mp3_excerpt

    tracks = open_library(library, None)
    work = partial(mp3_excerpt, tracks.root_path, tracks.limits)
    mapped = mapped_tracks(warehouse.record)
    wanted = (track for track in warehouse.live_tracks() if track.song_id in mapped)
    made: dict[str, bytes] = {}
    with IsolatedPool(
        workers=usable_cores(), timeout_s=_EXCERPT_TIMEOUT_S, memory_limit_mb=_EXCERPT_MEMORY_MB
    ) as pool:
        for track, excerpt in pool.map_unordered(work, wanted):
            if isinstance(excerpt, bytes):
                most_bytes -= len(excerpt)
                if most_bytes < 0:
                    break
                made[track.song_id] = excerpt
    return made


def _serve(table: Path, port: int) -> NoReturn:
    """Become the viewer, until it is stopped."""
    columns = ["--x", "x", "--y", "y", "--neighbors", "neighbors", "--text", "track_name"]
    address = ["--host", "127.0.0.1", "--port", str(port), "--no-auto-port"]
    # In the browser; the alternative asks this process for it, by a method that DuckDB 2 has no more.
    engine = ["--duckdb", "wasm"]
    program = [sys.executable, "-c", "from embedding_atlas.cli import main; main()"]
    out.print(f"The map is at http://127.0.0.1:{port}, in a moment and until you press Ctrl-C.")
    # All that the viewer might fetch is a model to embed with, and the embeddings are there.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1"}
    os.execve(sys.executable, [*program, str(table), *columns, *engine, *address], environment)  # noqa: S606
