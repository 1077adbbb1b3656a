"""Any query of the tables: sql."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from audio_assets.cli.opening import existing_data, open_warehouse
from audio_assets.cli.options import DEFAULT_DATA, DataDir, Format
from audio_assets.cli.printing import OutputFormat, fail, print_result

if TYPE_CHECKING:
    import duckdb


class SqlCommand(TyperCommand):
    """Lists tables and macros below the options."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write them from what describes them in the files themselves, which need not be there."""
        from audio_assets.warehouse import MACROS, PUBLISHED, VIEWS

        tables = [(name, comment) for name, (comment, _) in {**VIEWS, **PUBLISHED}.items()]
        after_from = [(macro.signature, macro.description) for macro in MACROS if macro.is_table]
        others = [(macro.signature, macro.description) for macro in MACROS if not macro.is_table]
        sections = {"Tables": tables, "Macros that stand after FROM": after_from, "Macros": others}
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, f"{description}.") for name, description in rows])


def sql(
    query: Annotated[str, typer.Argument(help="SQL, or - to read it from standard input.")] = "-",
    data: DataDir = DEFAULT_DATA,
    live: Annotated[
        bool, typer.Option("--live", help="Ask the record as it is now, not the last published generation.")
    ] = False,
    output: Format = OutputFormat.TABLE,
) -> None:
    """Query the tables with DuckDB's SQL; of several statements the last one's rows are printed.

    Worked queries are in examples/sql: audio-assets sql < examples/sql/01_library_overview.sql
    """
    import duckdb

    text = sys.stdin.read() if query == "-" else query
    folder = existing_data(data)
    try:
        with _door(folder, live) as connection:
            cursor = connection.execute(text)
            names = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall()
    except duckdb.Error as error:
        fail(str(error))
    print_result(names, rows, output)


@contextmanager
def _door(folder: Path, live: bool) -> "Iterator[duckdb.DuckDBPyConnection]":
    """Open the tables to a person's own SQL, which may attach and read what that person may read."""
    import duckdb

    from audio_assets.warehouse import LINK_NAME, open_live

    published = folder / LINK_NAME
    if live:
        with open_live(open_warehouse(folder).record) as connection:
            yield connection
    elif published.exists():
        with duckdb.connect(str(published.resolve()), read_only=True) as connection:
            yield connection
    else:
        fail(f"nothing is published in {folder} yet; run 'audio-assets run', or ask the record with --live")
