"""What assets tell the UI: column schemas, previews and the numbers a person wants to watch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from audio_assets.warehouse import BatchSummary, Column

OWNERS = ["team:audio-assets"]

_PREVIEW_ROWS = 5
_PREVIEW_COLUMNS = 10


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Columns as the UI's catalogue shows them, units included."""
    return dg.TableSchema(
        columns=[dg.TableColumn(c.name, _type_name(c.type), description=c.comment) for c in columns]
    )


def preview(table: pa.Table, columns: Iterable[Column]) -> dg.TableMetadataValue:
    """First rows of a table, and of its columns the first few that are numbers or text."""
    names = [column.name for column in columns if not pa.types.is_nested(column.type)][:_PREVIEW_COLUMNS]
    rows = table.select(names).slice(0, _PREVIEW_ROWS).to_pylist()
    records = [dg.TableRecord({name: _shown(value) for name, value in row.items()}) for row in rows]
    schema = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in names])
    return dg.MetadataValue.table(records, schema)


def counts_table(counts: Mapping[str, int], header: str, unit: str = "tracks") -> dg.MarkdownMetadataValue:
    """Counts as a Markdown table, in the order given."""
    lines = [f"| {header} | {unit} |", "|---|---:|", *(f"| {name} | {n} |" for name, n in counts.items())]
    return dg.MetadataValue.md("\n".join(lines))


def rounded(value: float) -> float:
    """Four significant digits: enough to watch a number by."""
    return float(f"{value:.4g}")


def batch_metadata(summary: BatchSummary, columns: Sequence[Column]) -> dict[str, Any]:
    """Numbers of one batch, plotted over time by the UI."""
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": summary.n_succeeded,
        "tracks_live": summary.n_live,
        "tracks_reused": summary.n_reused,
        "tracks_computed": summary.n_computed,
        "tracks_failed": summary.failures.total(),
        "elapsed_s": rounded(summary.elapsed_s),
        "preview": preview(summary.table.filter(summary.table["failure_code"].is_null()), columns),
    }
    if summary.n_computed:
        metadata["tracks_per_s"] = rounded(summary.n_computed / summary.elapsed_s)
    if summary.failures:
        metadata["failures"] = counts_table(dict(summary.failures.most_common()), "reason")
    return metadata


def _type_name(dtype: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(dtype):
        return f"{dtype.value_type}[{dtype.list_size}]"
    return str(dtype)


def _shown(value: object) -> str | float | int | None:
    if isinstance(value, float):
        return rounded(value)
    return value if value is None or isinstance(value, str | int) else str(value)
