"""The two doors to the tables: SQL over the live record, and the published generation.

`views.sql` defines every table once; `macros.sql` and `tracks.sql` define what stands on them. The live door
(`catalog.sql`) opens those views in memory and locks nothing; publishing (`publish`) writes the same views
down as native tables.
"""

import glob
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.warehouse.files import UNWRITABLE, atomic_path, disk_full
from audio_assets.warehouse.record import Record
from audio_assets.warehouse.schemas import FEATURE_COLUMNS, MACROS, VIEWS

if TYPE_CHECKING:
    import duckdb

_MEMORY_BYTES = 512 * 10**6
#: Measured: 41 for ids that count up, 70 for hashes (DuckDB 2.0.0).
_BYTES_A_KEY = 100


def sql_literal(text: str) -> str:
    """Quote text as a SQL string, for the few statements that take no bound parameter."""
    return "'" + text.replace("'", "''") + "'"


def views_sql(record: Record) -> str:
    """Statements that define the tables as views over a record."""
    folder = glob.escape(str(record.root.resolve())).replace("'", "''")
    features = ", ".join(column.name for column in FEATURE_COLUMNS)
    return Template(_read("views.sql")).substitute(
        record=folder, features=features, extractor_version=EXTRACTOR_VERSION
    )


def macros_sql() -> str:
    """Statements that define macros and view over the tables of a door, and say what they are."""
    return "\n".join((_read("macros.sql"), _read("tracks.sql"), *_comments()))


def _comments() -> Iterator[str]:
    for macro in MACROS:
        kind = "MACRO TABLE" if macro.is_table else "MACRO"
        text = sql_literal(f"{macro.signature}: {macro.description}")
        yield f"COMMENT ON {kind} {macro.name} IS {text};"
    for view, (comment, columns) in VIEWS.items():
        yield f"COMMENT ON VIEW {view} IS {sql_literal(comment)};"
        for column in columns:
            yield f"COMMENT ON COLUMN {view}.{column.name} IS {sql_literal(column.comment)};"


def definitions_digest() -> str:
    """Digest of the statements that define tables and macros, wherever the record lies."""
    statements = views_sql(Record(Path("/record"))) + macros_sql()
    return hashlib.sha256(statements.encode()).hexdigest()[:16]


def write_catalog(record: Record, path: Path) -> None:
    """Write the file that opens the live record: ``duckdb -init catalog.sql``.

    Parameters
    ----------
    record : Record
        The record; its empty tables are made where missing.
    path : Path
        File to write.
    """
    record.initialise()
    with atomic_path(path) as temporary:
        temporary.write_text(views_sql(record) + "\n" + macros_sql(), encoding="utf-8")


def connect_live(record: Record) -> "duckdb.DuckDBPyConnection":
    """Connect to the live record in memory.

    Parameters
    ----------
    record : Record
        The record; its empty tables are made where missing.

    Returns
    -------
    duckdb.DuckDBPyConnection
        Holds the views and macros of the catalog; nothing on disk is locked.
    """
    import duckdb

    record.initialise()
    connection = duckdb.connect(":memory:")
    connection.execute(views_sql(record))
    connection.execute(macros_sql())
    return connection


@contextmanager
def full_disk_explained(folder: Path) -> Iterator[None]:
    """Turn what DuckDB says of a full disk into an error that says what to do.

    Parameters
    ----------
    folder : Path
        What DuckDB writes to.

    Raises
    ------
    DiskFullError
        As described there.
    """
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise disk_full(folder) from None
        raise


def bound_memory(connection: "duckdb.DuckDBPyConnection", spill: Path, n_keys: int = 0) -> None:
    """Let a connection keep what does not fit into half a gigabyte in a folder, made where missing.

    From some million keys on it is more, as an index of them is never spilled: half is for the rest.
    """
    limit = max(_MEMORY_BYTES, _MEMORY_BYTES // 2 + n_keys * _BYTES_A_KEY)
    connection.execute(f"SET memory_limit = {sql_literal(f'{limit} bytes')}")
    # Each thread sorts in memory of its own: with two, 100,000 tracks did not fit (DuckDB 2.0.0).
    connection.execute("SET threads = 1")
    connection.execute(f"SET temp_directory = {sql_literal(str(spill))}")


@contextmanager
def open_live(record: Record) -> "Iterator[duckdb.DuckDBPyConnection]":
    """Connect to the record as it is at this moment, whatever is written meanwhile.

    DuckDB opens a file twice for one query, when it is planned and when it is run. A batch that is replaced
    in between would end the query with an error about invalid Parquet (DuckDB 2.0.0, measured), so the files
    are held still.

    Parameters
    ----------
    record : Record
        The record; its empty tables are made where missing.

    Yields
    ------
    duckdb.DuckDBPyConnection
        As of `connect_live`.
    """
    with ExitStack() as stack:
        try:
            still = stack.enter_context(record.snapshot())
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            still = record  # a folder that takes no link takes no new batch either
        yield stack.enter_context(connect_live(still))


def connect_published(path: Path) -> "duckdb.DuckDBPyConnection":
    """Connect to a published generation so that nothing else can be read, and nothing be written.

    It is attached to a database in memory, as settings of a connection to the file itself would hold for all
    connections that this process has to it.

    Parameters
    ----------
    path : Path
        File of the generation.

    Returns
    -------
    duckdb.DuckDBPyConnection
        Its default database is the generation. It opens no other file, loads no extension and spills nothing
        to disk, and no statement can lift that.
    """
    import duckdb

    connection = duckdb.connect(":memory:")
    connection.execute(f"ATTACH {sql_literal(str(path))} AS warehouse (READ_ONLY)")
    connection.execute("USE warehouse")
    connection.execute("SET temp_directory = ''")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _read(name: str) -> str:
    return resources.files("audio_assets.warehouse").joinpath(name).read_text(encoding="utf-8")
