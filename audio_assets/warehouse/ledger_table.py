"""The ledger as a table of the record: its own columns, then those the user's manifest carried in."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import pyarrow as pa

from audio_assets.library import Entry, ManifestError
from audio_assets.warehouse.schemas import LEDGER, arrow_schema

_OWN_NAMES = frozenset(column.name for column in LEDGER)
_SHARED_NAMES = frozenset({"song_id", "audio_path"})


def ledger_to_table(ledger: Iterable[Entry], carried: pa.Table) -> pa.Table:
    """Join the ledger with the columns that its tracks came with.

    Parameters
    ----------
    ledger : iterable of Entry
        The tracks, removed ones included.
    carried : pa.Table
        ``song_id`` and any further columns; removed tracks have NULL in those.

    Returns
    -------
    pa.Table
        The ledger's columns, then the carried ones.

    Raises
    ------
    ManifestError
        A carried column has the name of one that is measured.
    """
    names = [name for name in carried.column_names if name not in _SHARED_NAMES]
    taken = sorted(name for name in names if name.casefold() in _OWN_NAMES)  # SQL knows no case
    if taken:
        raise ManifestError(
            f"the manifest has columns that audio-assets measures itself: {', '.join(taken)}. "
            "Rename them in a recipe (examples/manifests/merge.toml), or drop them."
        )
    rows = [asdict(entry) for entry in ledger]
    table = pa.Table.from_pylist(rows, schema=arrow_schema("track_manifest"))
    position = {song_id: row for row, song_id in enumerate(carried["song_id"].to_pylist())}
    take = pa.array([position.get(row["song_id"]) for row in rows], pa.int64())
    for name in names:
        table = table.append_column(name, carried[name].take(take))
    return table


def ledger_from_table(table: pa.Table) -> list[Entry]:
    """Read the ledger back, without the carried columns, in its order."""
    columns: list[list[Any]] = [table[field.name].to_pylist() for field in fields(Entry)]
    return [Entry(*row) for row in zip(*columns, strict=True)]
