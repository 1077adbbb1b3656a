"""The four files that notebooks read: byte layouts of other people's code, rows in manifest order."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audio_assets.embeddings import EMBEDDING_DIM
from audio_assets.warehouse.doors import connect_live, sql_literal
from audio_assets.warehouse.files import atomic_path
from audio_assets.warehouse.record import Record
from audio_assets.warehouse.schemas import EMBEDDING, FEATURE_COLUMNS, SONG_ID

if TYPE_CHECKING:
    import duckdb

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

_VECTOR_COLUMNS = (SONG_ID, EMBEDDING)
EXPORTED_COLUMNS = {
    FEATURES_CSV: (SONG_ID, *FEATURE_COLUMNS),
    EMBEDDINGS_NPZ: _VECTOR_COLUMNS,
    NORMALIZED_NPZ: _VECTOR_COLUMNS,
    INDEX_NPZ: _VECTOR_COLUMNS,
}


def export_notebook_files(record: Record, folder: Path) -> dict[str, int]:
    """Write the feature table as CSV and the embeddings and index as NPZ.

    Parameters
    ----------
    record : Record
        The record.
    folder : Path
        Where to write; each file is replaced whole.

    Returns
    -------
    dict of str to int
        Rows by file name.
    """
    with record.snapshot() as still, connect_live(still) as connection:
        _order_by_manifest(connection, still)
        rows = {FEATURES_CSV: _write_csv(connection, folder / FEATURES_CSV)}
        for name in (EMBEDDINGS_NPZ, NORMALIZED_NPZ):
            ids, vectors = _vectors(connection, EXPORTED_TABLES[name])
            rows[name] = _write_npz(folder / name, track_ids=ids, embeddings=vectors)
        ids, vectors = _vectors(connection, EXPORTED_TABLES[INDEX_NPZ])
        mean = _index_mean(connection)
        rows[INDEX_NPZ] = _write_npz(folder / INDEX_NPZ, track_ids=ids, embeddings=vectors, mean=mean)
    return rows


def exported_rows(path: Path) -> pa.Table:
    """Read an exported file back, as a notebook would, with rows in the order of ids."""
    if path.suffix == ".csv":
        import pandas as pd

        frame = pd.read_csv(path, dtype={"song_id": str})
        schema = pa.schema([(column.name, column.type) for column in EXPORTED_COLUMNS[path.name]])
        return pa.Table.from_pandas(frame, schema=schema, preserve_index=False).sort_by("song_id")
    with np.load(path, allow_pickle=False) as file:
        flat = pa.array(file["embeddings"].ravel(), pa.float32())
        vectors = pa.FixedSizeListArray.from_arrays(flat, EMBEDDING_DIM)
        return pa.table({"song_id": pa.array(file["track_ids"]), "embedding": vectors}).sort_by("song_id")


def _index_mean(connection: "duckdb.DuckDBPyConnection") -> npt.NDArray[np.float32]:
    """Mean stored with the index; of no length where there is no index yet."""
    row = connection.execute("SELECT mean FROM retrieval_index_info").fetchone()
    return np.asarray(row[0] if row else (), dtype=np.float32)


def _order_by_manifest(connection: "duckdb.DuckDBPyConnection", record: Record) -> None:
    connection.execute(
        "CREATE TEMP TABLE manifest_order AS SELECT song_id, file_row_number AS position "
        "FROM read_parquet(?, file_row_number = true)",
        [glob.escape(str(record.path("track_manifest")))],
    )


def _write_csv(connection: "duckdb.DuckDBPyConnection", path: Path) -> int:
    columns = ", ".join(("song_id", *(column.name for column in FEATURE_COLUMNS)))
    with atomic_path(path) as temporary:
        row = connection.execute(
            f"COPY (SELECT {columns} FROM audio_features "  # noqa: S608
            "JOIN manifest_order USING (song_id) ORDER BY position) "
            f"TO {sql_literal(str(temporary))} (FORMAT csv, HEADER)"
        ).fetchone()
    assert row is not None
    return int(row[0])


def _vectors(
    connection: "duckdb.DuckDBPyConnection", table: str
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float32]]:
    arrow = connection.sql(
        f"SELECT song_id, embedding FROM {table} JOIN manifest_order USING (song_id) ORDER BY position"  # noqa: S608
    ).to_arrow_table()
    ids = np.array(arrow["song_id"].to_pylist(), dtype=np.str_)
    flat = arrow["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return ids, flat.astype(np.float32, copy=False).reshape(len(ids), EMBEDDING_DIM)


def _write_npz(path: Path, **arrays: npt.NDArray[np.generic]) -> int:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return len(arrays["track_ids"])
