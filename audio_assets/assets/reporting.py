"""What assets tell the UI: column schemas, previews, pictures, and the numbers a person wants to watch."""

import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from audio_assets.plots import as_markdown
from audio_assets.warehouse import PUBLISHED, BatchSummary, Column
from resources.warehouse import Warehouse

OWNERS = ["team:audio-assets"]

_PREVIEW_ROWS = 5
_PREVIEW_COLUMNS = 10
_SHOWN_FAILURES = 100
_LOGGED_FAILURES = 20


def column_schema(columns: Iterable[Column], prefix: str = "") -> dg.TableSchema:
    """Columns as the UI's catalogue shows them, units included."""
    return dg.TableSchema(
        columns=[dg.TableColumn(prefix + c.name, _type_name(c.type), description=c.comment) for c in columns]
    )


def published_table(name: str) -> dict[str, Any]:
    """Say in an asset's definition as which table people query it, and what the columns are."""
    return {"dagster/table_name": f"main.{name}", "dagster/column_schema": column_schema(PUBLISHED[name][1])}


def several_tables(tables: Mapping[str, Iterable[Column]]) -> dict[str, Any]:
    """Columns of several tables or files in one schema, each under the name of its own."""
    schemas = (column_schema(columns, f"{name}.") for name, columns in tables.items())
    columns = [column for schema in schemas for column in schema.columns]
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}


def preview(table: pa.Table, columns: Iterable[Column]) -> dg.TableMetadataValue:
    """First rows of a table, and of its columns the first few that are numbers or text."""
    names = [column.name for column in columns if not pa.types.is_nested(column.type)][:_PREVIEW_COLUMNS]
    return rows_table(names, table.select(names).slice(0, _PREVIEW_ROWS).to_pylist())


def rows_table(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> dg.TableMetadataValue:
    """Rows as a table of the UI, which takes no text in them for Markdown."""
    records = [dg.TableRecord({name: _shown(row[name]) for name in names}) for row in rows]
    schema = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in names])
    return dg.MetadataValue.table(records, schema)


def counts_table(counts: Mapping[str, int], header: str, unit: str = "tracks") -> dg.MarkdownMetadataValue:
    """Counts as a Markdown table, in the order given."""
    escaped = {name.replace("|", r"\|"): n for name, n in counts.items()}
    rows = (f"| {name} | {n} |" for name, n in escaped.items())
    lines = [f"| {header} | {unit} |", "|---|---:|", *rows]
    return dg.MetadataValue.md("\n".join(lines))


def query(data_dir: Path, sql: str, *, live: bool = False) -> dg.MarkdownMetadataValue:
    """Give a query, without double quotes, as a command to copy into a terminal."""
    command = shlex.join(["audio-assets", "sql", *(["--live"] if live else []), "--data", str(data_dir)])
    return dg.MetadataValue.md(f'`{command} "{sql}"`')  # in line, as a block of code would not be wrapped


def pictures(**drawn: tuple[bytes | None, str]) -> dict[str, dg.MarkdownMetadataValue]:
    """Pictures with their descriptions, by name, without those that there was nothing for."""
    return {
        name: dg.MetadataValue.md(as_markdown(png, description))
        for name, (png, description) in drawn.items()
        if png is not None
    }


def rounded(value: float) -> float:
    """Four significant digits: enough to watch a number by."""
    return float(f"{value:.4g}")


def batch_metadata(summary: BatchSummary, name: str, batch: str, warehouse: Warehouse) -> dict[str, Any]:
    """What one batch of a table came to; the UI plots its numbers over time and over batches."""
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": summary.n_succeeded,
        "tracks_live": summary.n_live,
        "tracks_analysed": summary.n_succeeded,
        "tracks_failed": summary.failures.total(),
        **{f"failed_{reason}": count for reason, count in summary.failures.most_common()},
        "tracks_reused": summary.n_reused,
        "tracks_computed": summary.n_computed,
        "elapsed_s": rounded(summary.elapsed_s),
    }
    if summary.n_computed:
        metadata["tracks_per_s"] = rounded(summary.n_computed / summary.elapsed_s)
    succeeded = summary.table.filter(summary.table["failure_code"].is_null())
    if seconds := succeeded["elapsed_s"].drop_null().to_pylist():
        metadata["seconds_per_track"] = rounded(float(np.median(seconds)))
    if summary.failures:
        metadata["failed_tracks"] = _failed_tracks(summary.table)
    return {
        **metadata,
        "preview": preview(succeeded, PUBLISHED[name][1]),
        "query": query(
            warehouse.path,
            f"SELECT * FROM {name} JOIN manifest USING (song_id) WHERE batch = '{batch}'",  # noqa: S608
            live=True,
        ),
        "file": dg.MetadataValue.path(str(warehouse.record.path(name, batch))),
    }


def log_failures(log: logging.Logger, summary: BatchSummary) -> None:
    """Name the tracks that could not be analysed in the run's log; the metadata have the rest."""
    for row in _failures(summary.table)[:_LOGGED_FAILURES]:
        log.warning(f"{row['song_id']}: {row['failure_code']}: {row['failure_message']}")


def _failures(table: pa.Table) -> list[dict[str, Any]]:
    columns = ["song_id", "failure_code", "failure_message"]
    rows: list[dict[str, Any]] = table.select(columns).filter(table["failure_code"].is_valid()).to_pylist()
    return rows


def _failed_tracks(table: pa.Table) -> dg.TableMetadataValue:
    return rows_table(("song_id", "failure_code", "failure_message"), _failures(table)[:_SHOWN_FAILURES])


def _type_name(dtype: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(dtype):
        return f"{dtype.value_type}[{dtype.list_size}]"
    return str(dtype)


def _shown(value: object) -> str | float | int | None:
    if isinstance(value, float):
        return rounded(value)
    return value if value is None or isinstance(value, str | int) else str(value)
