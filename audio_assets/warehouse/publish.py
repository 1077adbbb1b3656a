"""Publishing: the views over the record, written down as one DuckDB file and switched in whole.

What belongs here: building the file and refusing bad numbers. What does not: which file readers get
(``generations``).
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from audio_assets.features import FEATURES, Feature
from audio_assets.warehouse.doors import (
    bound_memory,
    connect_live,
    full_disk_explained,
    macros_sql,
    sql_literal,
)
from audio_assets.warehouse.files import explained, sync, temporary_path
from audio_assets.warehouse.generations import (
    KEPT_GENERATIONS,
    drop_old_generations,
    generation_path,
    next_name,
    switch_to,
)
from audio_assets.warehouse.record import Record
from audio_assets.warehouse.schemas import PUBLISHED

if TYPE_CHECKING:
    import duckdb

_UNIT_TOLERANCE = 1e-4

_PRIMARY_KEYS = {"track_failures": "song_id, stage", "batches": "batch"}
_WITHOUT_KEY = frozenset({"retrieval_index_info"})
#: Several tables are made of these; opening thousands of files once for each would take most of the time.
_READ_ONCE = ("live_tracks", "feature_outcomes", "embedding_attempts")
_VECTOR_TABLES = ("clap_embeddings", "clap_embeddings_normalized", "retrieval_index")


class PublishError(Exception):
    """The record holds something that must not reach readers; the generation in place stays."""


@dataclass(frozen=True)
class Publication:
    """A generation that was built.

    ``held_at`` names the older generation that a rollback holds readers at; None where they got this one.
    """

    path: Path
    generation: str
    held_at: str | None
    row_counts: dict[str, int]
    size_bytes: int
    elapsed_s: float


def publish(record: Record, data_dir: Path, kept: int = KEPT_GENERATIONS) -> Publication:
    """Build a generation from the record and make it the one that readers open.

    Parameters
    ----------
    record : Record
        The record.
    data_dir : Path
        Folder that holds the generations and the link.
    kept : int
        Generations to keep, this one included; two at least.

    Returns
    -------
    Publication
        What was published. After a rollback it is kept for later, and readers stay where they are.

    Raises
    ------
    PublishError
        A number is NaN, infinite or outside the range that its definition allows, or a vector is not of
        unit length.
    StorageError
        The disk is full, or the folder cannot be written to; readers keep what they have.
    """
    started = time.monotonic()
    with explained(data_dir), FileLock(data_dir / ".publish.lock"):
        building = temporary_path(data_dir)
        try:
            with record.snapshot() as still:
                row_counts = _build(still, building)
            sync(building)
            generation = next_name(data_dir)
            path = generation_path(data_dir, generation)
            building.replace(path)
        finally:
            for leftover in (building, _wal_of(building)):
                leftover.unlink(missing_ok=True)
            shutil.rmtree(_spill_of(building), ignore_errors=True)
        held_at = switch_to(data_dir, generation)
        drop_old_generations(data_dir, kept)
    size_bytes = path.stat().st_size
    return Publication(path, generation, held_at, row_counts, size_bytes, time.monotonic() - started)


def _wal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _spill_of(path: Path) -> Path:
    """Where DuckDB puts what does not fit into memory; else it would be the working directory."""
    return path.with_name(f"{path.name}.spill")


def _build(record: Record, path: Path) -> dict[str, int]:
    with full_disk_explained(path.parent), connect_live(record) as connection:
        bound_memory(connection, _spill_of(path), record.n_rows("track_manifest"))
        for view in _READ_ONCE:
            connection.execute(f"CREATE TABLE {view}_read AS FROM {view}")
            connection.execute(f"CREATE OR REPLACE VIEW {view} AS FROM {view}_read")
        counts = {}
        for name in PUBLISHED:
            # Attached for each, or the indexes of all primary keys would stay in memory.
            with _attached(connection, path):
                counts[name] = _write_table(connection, name)
        with _attached(connection, path):
            _refuse_bad_numbers(connection)
            connection.execute("USE generation")
            connection.execute(macros_sql())
            connection.execute("USE memory")
    return counts


@contextmanager
def _attached(connection: "duckdb.DuckDBPyConnection", path: Path) -> Iterator[None]:
    """Have the file that is built as the database ``generation`` within the block."""
    # The storage version lets DuckDB command lines older than the library read the file.
    connection.execute(f"ATTACH {sql_literal(str(path))} AS generation (STORAGE_VERSION 'v1.0.0')")
    yield  # not in a try: after an error the file is thrown away
    connection.execute("CHECKPOINT generation")  # which says so where it cannot; detaching does not
    connection.execute("DETACH generation")


def _write_table(connection: "duckdb.DuckDBPyConnection", name: str) -> int:
    comment, columns = PUBLISHED[name]
    table = f"generation.{name}"
    key = _PRIMARY_KEYS.get(name, "song_id")
    order = "" if name in _WITHOUT_KEY else f" ORDER BY {key}"
    connection.execute(f"CREATE TABLE {table} AS SELECT * FROM memory.{name}{order}")  # noqa: S608
    if name not in _WITHOUT_KEY:
        connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({key})")
    connection.execute(f"COMMENT ON TABLE {table} IS {sql_literal(comment)}")
    present = {row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()}
    for column in columns:
        if column.name in present:
            text = sql_literal(column.comment)
            connection.execute(f"COMMENT ON COLUMN {table}.{column.name} IS {text}")
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    assert row is not None
    return int(row[0])


def _refuse_bad_numbers(connection: "duckdb.DuckDBPyConnection") -> None:
    possible = " AND ".join(f"coalesce({_possible(feature)}, true)" for feature in FEATURES)
    conditions = {"audio_features": f"NOT ({possible})"}
    for name in _VECTOR_TABLES:
        squared_norm = "array_inner_product(embedding, embedding)"
        conditions[name] = f"NOT isfinite({squared_norm}) OR abs({squared_norm} - 1) > {_UNIT_TOLERANCE}"
    for name, bad in conditions.items():
        rows = connection.execute(
            f"SELECT song_id FROM generation.{name} WHERE {bad} ORDER BY song_id LIMIT 5"  # noqa: S608
        ).fetchall()
        if rows:
            raise PublishError(
                f"{name} holds numbers out of range, NaN, infinity or vectors not of unit length, such as of "
                f"{', '.join(row[0] for row in rows)}; materialise it again. The old generation stays."
            )


def _possible(feature: Feature) -> str:
    bounds = [f"isfinite({feature.name})"]
    if feature.lower is not None:
        bounds.append(f"{feature.name} >= {feature.lower!r}")
    if feature.upper is not None:
        bounds.append(f"{feature.name} <= {feature.upper!r}")
    return "(" + " AND ".join(bounds) + ")"
