"""The map on disk: the projection beside the index it is of, and the table that a map is drawn from.

The projection lies in a folder of its own below the version of the corpus: it goes when that goes, and
neither readers nor what is published see it.

What belongs here: reading and writing the two. What does not: coordinates (``projection``), excerpts
(``previews``), showing (``cli``). Nothing here knows Dagster.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from audio_assets.corpus import load_index
from audio_assets.projection import MIN_DIST, N_NEIGHBORS, SEED, Projection
from audio_assets.retrieval import RetrievalIndex
from audio_assets.warehouse import Record, atomic_path

if TYPE_CHECKING:
    import duckdb

#: Neighbours of each track in the map's table, itself not among them.
N_LISTED = 10
#: What a projection must have been made with to be taken for current.
_RULE = json.dumps(
    {"seed": SEED, "n_neighbors": N_NEIGHBORS, "min_dist": MIN_DIST, "metric": "cosine", "init": "pca"}
)
_QUERY_BLOCK = 1_024

#: A file with its name, by which a browser knows what the bytes are.
_AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

_SCHEMA = pa.schema([("song_id", pa.string()), ("x", pa.float32()), ("y", pa.float32())])

#: Columns of the user's that have such a name are left out of the map.
_QUERY = """
SELECT shown.*, points.x, points.y
FROM (SELECT COLUMNS(lambda name: lower(name) NOT IN ('x', 'y', 'neighbors', 'audio')) FROM tracks) AS shown
JOIN points USING (song_id)
ORDER BY song_id
"""


class NoProjectionError(Exception):
    """There is no current projection, or nothing that one could be made of."""


@dataclass(frozen=True)
class MapTable:
    """The table a map is drawn from, and how many of its tracks can be heard."""

    table: pa.Table
    n_audible: int


def projection_path(record: Record) -> Path:
    """File of the projection of the index in force, there or not."""
    index = record.path("retrieval_index", version=record.version_in_force())
    return index.parent / "map" / "embedding_projection.parquet"


def write_projection(path: Path, track_ids: npt.NDArray[np.str_], projection: Projection) -> None:
    """Keep a projection.

    Parameters
    ----------
    path : Path
        As `projection_path` gave it when the vectors were read.
    track_ids : ndarray of str, shape (n,)
        Of the points.
    projection : Projection
        The points.
    """
    columns = {"song_id": track_ids.tolist(), "x": projection.points[:, 0], "y": projection.points[:, 1]}
    table = pa.table(columns, schema=_SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({"rule": _RULE}), temporary, compression="zstd")


def is_projected(record: Record) -> bool:
    """Whether the index in force has a projection by the rule of today."""
    return _current(projection_path(record)) is not None


def mapped_tracks(record: Record) -> frozenset[str]:
    """Ids of the tracks that are on the map of the index in force; none where that is not laid out."""
    points = _current(projection_path(record))
    return frozenset(points["song_id"].to_pylist() if points else ())


def map_table(
    connection: "duckdb.DuckDBPyConnection", record: Record, audio: Mapping[str, bytes]
) -> MapTable:
    """Put together what a map is drawn from.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Open on a published generation.
    record : Record
        Holds the projection, and the index that neighbours are looked up in.
    audio : mapping of str to bytes
        MP3 files by ``song_id``; the column ``audio`` is left out where there are none.

    Returns
    -------
    MapTable
        A row for each published track that is on the map, by ``song_id``: the columns of ``tracks``, ``x``,
        ``y``, ``neighbors`` (row numbers and distances 1 - cosine, nearest first) and ``audio``.

    Raises
    ------
    NoProjectionError
        The projection is missing or out of date.
    """
    points, stored = _current(projection_path(record)), load_index(record)
    if points is None or stored is None:
        raise NoProjectionError("the index has no current projection: materialise embedding_projection")
    connection.register("points", points)
    table = connection.sql(_QUERY).to_arrow_table()
    ids = table["song_id"].to_pylist()
    table = table.append_column("neighbors", _neighbors(stored[0], ids))
    if audio:
        players = pa.array([_player(song_id, audio.get(song_id)) for song_id in ids], _AUDIO)
        table = table.add_column(2, "audio", players)  # the viewer lists columns in their order
    return MapTable(table, sum(song_id in audio for song_id in ids))


def _current(path: Path) -> pa.Table | None:
    if not path.exists():
        return None
    table = pq.read_table(path)
    return table if (table.schema.metadata or {}).get(b"rule") == _RULE.encode() else None


def _neighbors(index: RetrievalIndex, ids: list[str]) -> pa.StructArray:
    """For each track the rows of its nearest, and how far they are; ids are sorted."""
    sorted_ids = np.array(ids, dtype=np.str_)
    is_shown = np.isin(index.track_ids, sorted_ids)
    n_listed = min(N_LISTED, max(0, len(ids) - 1))
    others, distances = np.empty((len(ids), n_listed), np.int64), np.empty((len(ids), n_listed), np.float32)
    for start in range(0, len(ids), _QUERY_BLOCK):
        block = slice(start, start + _QUERY_BLOCK)
        found, scores = index.neighbours(ids[block], n_listed + 1, among=is_shown)
        others[block] = np.searchsorted(sorted_ids, found[:, 1:])  # without oneself, who is first
        distances[block] = 1 - scores[:, 1:]
    return pa.StructArray.from_arrays([_lists(others), _lists(distances)], ["ids", "distances"])


def _lists(rows: npt.NDArray[np.number]) -> pa.ListArray:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(rows.ravel()))


def _player(song_id: str, mp3: bytes | None) -> dict[str, object] | None:
    return None if mp3 is None else {"bytes": mp3, "path": f"{song_id}.mp3"}
