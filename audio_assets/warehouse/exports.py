"""The four files that notebooks read: byte layouts of other people's code, rows in manifest order.

``exports`` is a symbolic link to the folder of one export, so that all four switch at once.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from audio_assets.embeddings import EMBEDDING_DIM
from audio_assets.warehouse.doors import bound_memory, connect_live, full_disk_explained, sql_literal
from audio_assets.warehouse.files import atomic_path, explained, switch_link, temporary_path
from audio_assets.warehouse.matrix import MatrixWriter
from audio_assets.warehouse.npz import read_npz, write_npz
from audio_assets.warehouse.record import Record
from audio_assets.warehouse.schemas import EMBEDDING, FEATURE_COLUMNS, SONG_ID

if TYPE_CHECKING:
    import duckdb

EXPORTS_LINK = "exports"
#: A copy that somebody named is no export, and never removed.
_NUMBERED = re.compile(rf"{EXPORTS_LINK}-\d{{6}}")

FEATURES_CSV = "merge_audio_features.csv"
EMBEDDINGS_NPZ = "embeddings/clap_embeddings.npz"
NORMALIZED_NPZ = "embeddings/clap_embeddings_normalized.npz"
INDEX_NPZ = "embeddings/clap_index.npz"

EXPORTED_TABLES = {
    FEATURES_CSV: "audio_features",
    EMBEDDINGS_NPZ: "clap_embeddings",
    NORMALIZED_NPZ: "clap_embeddings_normalized",
    INDEX_NPZ: "retrieval_index",
}

_ROWS_AT_ONCE = 4_096

_VECTOR_COLUMNS = (SONG_ID, EMBEDDING)
EXPORTED_COLUMNS = {
    FEATURES_CSV: (SONG_ID, *FEATURE_COLUMNS),
    EMBEDDINGS_NPZ: _VECTOR_COLUMNS,
    NORMALIZED_NPZ: _VECTOR_COLUMNS,
    INDEX_NPZ: _VECTOR_COLUMNS,
}


def export_notebook_files(record: Record, data_dir: Path) -> dict[str, int]:
    """Write the feature table as CSV and the embeddings and index as NPZ, and switch readers to them.

    Parameters
    ----------
    record : Record
        The record.
    data_dir : Path
        Folder that holds the exports and the link to the newest of them.

    Returns
    -------
    dict of str to int
        Rows by file name.

    Raises
    ------
    StorageError
        The disk is full, or the folder cannot be written to; the former files are still in place.
    """
    with explained(data_dir), FileLock(data_dir / ".exports.lock"):
        building = temporary_path(data_dir)
        try:
            rows = _write_files(record, building)
            folder = data_dir / f"{EXPORTS_LINK}-{_newest_number(data_dir) + 1:06d}"
            building.replace(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        link = data_dir / EXPORTS_LINK
        if link.is_dir() and not link.is_symlink():  # of a version that replaced file by file
            link.replace(data_dir / f"{EXPORTS_LINK}-{0:06d}")
        switch_link(link, folder)
        _drop_old(data_dir)
    return rows


def _write_files(record: Record, folder: Path) -> dict[str, int]:
    spill = folder / "spill"
    spill.mkdir(parents=True)
    with record.snapshot() as still, full_disk_explained(folder.parent), connect_live(still) as connection:
        bound_memory(connection, spill)
        in_order = _manifest_order(still)
        rows = {FEATURES_CSV: _write_csv(connection, folder / FEATURES_CSV, in_order)}
        write_vectors = partial(_write_vectors, connection, in_order, spill)
        for name in (EMBEDDINGS_NPZ, NORMALIZED_NPZ):
            rows[name] = write_vectors(EXPORTED_TABLES[name], folder / name)
        mean = _index_mean(connection)
        rows[INDEX_NPZ] = write_vectors(EXPORTED_TABLES[INDEX_NPZ], folder / INDEX_NPZ, mean=mean)
    shutil.rmtree(spill)
    return rows


def _exports(data_dir: Path) -> list[Path]:
    """Folders of all exports, oldest first."""
    return sorted(path for path in data_dir.glob(f"{EXPORTS_LINK}-*") if _NUMBERED.fullmatch(path.name))


def _newest_number(data_dir: Path) -> int:
    return max((int(path.name.rpartition("-")[2]) for path in _exports(data_dir)), default=0)


def _drop_old(data_dir: Path) -> None:
    """Keep the one before: a reader may have followed the link, and not opened all files yet."""
    for folder in _exports(data_dir)[:-2]:
        shutil.rmtree(folder)


def exported_blocks(path: Path) -> Iterator[pa.Table]:
    """Read an exported file back block by block, with the columns of `EXPORTED_COLUMNS`."""
    is_csv = path.suffix == ".csv"
    columns = EXPORTED_COLUMNS[FEATURES_CSV] if is_csv else _VECTOR_COLUMNS
    schema = pa.schema([(column.name, column.type) for column in columns])
    if is_csv:
        import pandas as pd

        # Only what is empty is NULL: a track may be called NA.
        frames = pd.read_csv(
            path,
            dtype={"song_id": str},
            chunksize=_ROWS_AT_ONCE,
            keep_default_na=False,
            na_values=[""],
        )
        for frame in frames:
            yield pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        return
    for track_ids, vectors in read_npz(path):
        flat = pa.array(vectors.ravel(), pa.float32())
        arrays = [pa.array(track_ids), pa.FixedSizeListArray.from_arrays(flat, EMBEDDING_DIM)]
        yield pa.table(arrays, schema=schema)


def _index_mean(connection: "duckdb.DuckDBPyConnection") -> npt.NDArray[np.float32]:
    """Mean stored with the index; of no length where there is no index yet."""
    rows = connection.execute("SELECT mean FROM retrieval_index_info").fetchall()
    return np.asarray(rows[0][0] if rows else (), dtype=np.float32)


def _manifest_order(record: Record) -> pa.Array:
    """Ids of all tracks as the manifest has them."""
    # Not by DuckDB's file_row_number: it is an error where a manifest has a column of that name.
    ids = record.read("track_manifest", columns=["song_id"])
    assert ids is not None
    return ids["song_id"].combine_chunks()


def _write_csv(connection: "duckdb.DuckDBPyConnection", path: Path, in_order: pa.Array) -> int:
    columns = ", ".join(("song_id", *(column.name for column in FEATURE_COLUMNS)))
    positions = pa.table({"song_id": in_order, "position": np.arange(len(in_order))})
    connection.register("manifest_order", positions)
    with atomic_path(path) as temporary:
        row = connection.execute(
            f"COPY (SELECT {columns} FROM audio_features "  # noqa: S608
            "JOIN manifest_order USING (song_id) ORDER BY position) "
            f"TO {sql_literal(str(temporary))} (FORMAT csv, HEADER)"
        ).fetchone()
    assert row is not None
    return int(row[0])


def _write_vectors(
    connection: "duckdb.DuckDBPyConnection",
    in_order: pa.Array,
    scratch: Path,
    table: str,
    path: Path,
    **others: npt.NDArray[np.generic],
) -> int:
    # Put into order here: a query that looked up, joined and sorted 100,000 vectors had not memory enough
    # (DuckDB 2.0.0).
    view = connection.view(table)
    exported = view.select("song_id").to_arrow_table()["song_id"]
    ids = in_order.filter(pc.is_in(in_order, value_set=exported)).to_pylist()
    row_of = {song_id: row for row, song_id in enumerate(ids)}
    with tempfile.TemporaryFile(dir=scratch) as file:
        matrix = MatrixWriter(file, len(ids), EMBEDDING_DIM)
        for block in view.select("song_id", "embedding").to_arrow_reader(_ROWS_AT_ONCE):
            rows = np.array([row_of[song_id] for song_id in block["song_id"].to_pylist()], np.int64)
            vectors = block["embedding"].flatten().to_numpy(zero_copy_only=False)
            matrix.put(rows, vectors.reshape(-1, EMBEDDING_DIM))
        vectors_in_order = (block for _, block in matrix.blocks())
        return write_npz(path, np.array(ids, np.str_), vectors_in_order, EMBEDDING_DIM, **others)
