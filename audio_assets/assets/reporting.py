"""What assets tell the UI: column schemas, previews and the numbers a person wants to watch."""

from collections import Counter
from collections.abc import Iterable
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
        columns=[dg.TableColumn(c.name, str(c.type), description=c.comment) for c in columns]
    )


def preview(table: pa.Table) -> dg.TableMetadataValue:
    """First rows and scalar columns of a table."""
    names = [field.name for field in table.schema if not pa.types.is_nested(field.type)][:_PREVIEW_COLUMNS]
    rows = table.select(names).slice(0, _PREVIEW_ROWS).to_pylist()
    records = [dg.TableRecord({name: _shown(value) for name, value in row.items()}) for row in rows]
    schema = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in names])
    return dg.MetadataValue.table(records, schema)


def counts_table(counts: Counter[str], header: str) -> str:
    """Counts as a Markdown table, most frequent first."""
    lines = [f"| {header} | tracks |", "|---|---:|"]
    lines.extend(f"| {name} | {count} |" for name, count in counts.most_common())
    return "\n".join(lines)


def batch_metadata(summary: BatchSummary) -> dict[str, Any]:
    """Numbers of one batch, plotted over time by the UI."""
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": summary.n_succeeded,
        "tracks_live": summary.n_live,
        "tracks_reused": summary.n_reused,
        "tracks_computed": summary.n_computed,
        "tracks_failed": summary.failures.total(),
        "elapsed_s": summary.elapsed_s,
        "preview": preview(summary.table.filter(summary.table["failure_code"].is_null())),
    }
    if summary.n_computed:
        metadata["tracks_per_s"] = summary.n_computed / summary.elapsed_s
    if summary.failures:
        metadata["failures"] = dg.MetadataValue.md(counts_table(summary.failures, "reason"))
    return metadata


def _shown(value: object) -> str | float | int | None:
    return value if value is None or isinstance(value, str | float | int) else str(value)
