"""How a command speaks: its two streams, exit codes, tables and query results."""

import csv
import json
import re
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

EXIT_FAILED = 1
EXIT_NOTHING_ANALYSED = 3
EXIT_INTERRUPTED = 130


class OutputFormat(StrEnum):
    """How query results are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


_SHOWN_ITEMS = 4
_NO_WIDTH = 1_000_000

#: What a terminal obeys and does not show, but for line feed and tab: a title may hold any of it.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Console(Console):
    """Shows what a terminal would obey, by its number."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make text of a string that was given to be printed, be it a line or a cell."""
        visible = _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
        return super().render_str(visible, **options)


out = _Console(soft_wrap=True)
err = _Console(stderr=True, soft_wrap=True)


def fail(message: str) -> NoReturn:
    """End the command with a sentence on the error stream."""
    err.print(f"error: {escape(message)}")
    raise typer.Exit(EXIT_FAILED)


def print_rows(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """Print a table; nothing is cut off, so that an id can be copied from a narrow terminal too."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    # A file or a pipe has no width: what reads it wants each row on one line.
    console = out if out.is_terminal else _Console(soft_wrap=True, width=_NO_WIDTH)
    console.print(table)


def print_result(names: list[str], rows: list[tuple[Any, ...]], output: OutputFormat) -> None:
    """Print what a query found in the form asked for."""
    if output is OutputFormat.TABLE:
        print_rows(tuple(names), rows)
    elif output is OutputFormat.CSV:
        # Not CRLF: the last column of a line would go into a shell variable with a carriage return.
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
        if n_formulas := sum(_may_be_formula(cell) for row in rows for cell in row):
            advice = "in a spreadsheet, import them as text"
            err.print(f"note: {n_formulas} texts begin like formulas (= + - @); {advice}")
    elif len(set(names)) < len(names):
        fail("JSON needs a name of its own for each column; give them with AS")
    else:
        records = [dict(zip(names, row, strict=True)) for row in rows]
        try:
            text = json.dumps(records, default=str, ensure_ascii=False, indent=1, allow_nan=False)
        except ValueError:
            fail("JSON has no NaN and no infinity; take --format csv, or leave them out with isfinite()")
        sys.stdout.write(text + "\n")


def _may_be_formula(cell: object) -> bool:
    return isinstance(cell, str) and cell.startswith(_FORMULA)


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list) and len(value) > _SHOWN_ITEMS:
        return f"[{', '.join(_cell(item) for item in value[:_SHOWN_ITEMS])}, ... {len(value)} values]"
    return str(value)
