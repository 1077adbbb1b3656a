"""People who read all the time: ``python -m tools.soak.readers DOOR DATA LOG``.

Each look checks what has to hold at any moment, whatever runs or was killed: one version, no id twice, index
and normalised table as one, centred with the mean that is stored, no torn file. A problem is a line of the
log; a file beside it says how often was looked.
"""

import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from audio_assets.warehouse import fingerprint
from audio_assets.warehouse.layout import below

_PAUSE_S = 1.0
_KEYED = ("manifest", "audio_features", "clap_embeddings", "clap_embeddings_normalized", "retrieval_index")
_TOLERANCE = 1e-5

#: Queries that must find nothing.
_BROKEN = {
    "the index is not the normalised table": """
        SELECT song_id FROM clap_embeddings_normalized AS n FULL JOIN retrieval_index AS i USING (song_id)
        WHERE n.embedding IS DISTINCT FROM i.embedding""",
    "numbers of a track that is not live": """
        SELECT song_id FROM (FROM audio_features SELECT song_id UNION ALL FROM clap_embeddings SELECT song_id
        UNION ALL FROM retrieval_index SELECT song_id)
        ANTI JOIN (FROM manifest WHERE status = 'live') USING (song_id)""",
    "features and a failure of them": """
        FROM audio_features SEMI JOIN (FROM track_failures WHERE stage = 'features') USING (song_id)
        SELECT song_id""",
    "an embedding and a failure of it": """
        FROM clap_embeddings SEMI JOIN (FROM track_failures WHERE stage = 'embedding') USING (song_id)
        SELECT song_id""",
    "a failure twice": "FROM track_failures SELECT song_id GROUP BY song_id, stage HAVING count(*) > 1",
    "more than one version": """
        FROM clap_embeddings SELECT min(song_id) GROUP BY weights_sha256, config_sha256, windowing, precision
        QUALIFY count(*) OVER () > 1""",
    "the index counts wrongly": """
        FROM retrieval_index_info SELECT n_tracks WHERE n_tracks <> (SELECT count(*) FROM retrieval_index)""",
}


class InterruptedLookError(Exception):
    """DuckDB failed on a file that was replaced while it looked, which it says and cannot help."""


def main() -> None:
    """Look until the parent ends."""
    door, data, log = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    look = {"published": _published, "live": _live, "files": _files}[door]
    parent, looks = os.getppid(), {"looks": 0, "interrupted": 0}
    with log.open("a", encoding="utf-8") as file:
        while os.getppid() == parent:
            looks["looks"] += 1
            try:
                for problem in _said(look, data):
                    said = {"at": time.strftime("%H:%M:%S"), "problem": f"{door}: {problem}"}
                    file.write(json.dumps(said) + "\n")
            except InterruptedLookError:
                looks["interrupted"] += 1
            log.with_suffix(".looks").write_text(json.dumps(looks), encoding="utf-8")
            file.flush()
            time.sleep(_PAUSE_S)


def _said(look: Callable[[Path], Iterator[str]], data: Path) -> Iterator[str]:
    try:
        yield from look(data)
    except InterruptedLookError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a reader gets is what the soak is to tell
        yield f"{type(error).__name__}: {str(error)[:500]}"


def _published(data: Path) -> Iterator[str]:
    link = data / "warehouse.duckdb"
    if not link.is_symlink():
        return
    with duckdb.connect(str(link.resolve(strict=True)), read_only=True) as connection:
        yield from _twice(connection)
        time.sleep(0.3)  # as somebody who reads on while a new generation is switched in
        yield from _inconsistent(connection)


def _live(data: Path) -> Iterator[str]:
    """Look at the live record; batches are read as they are at the moment, so not always as of one moment."""
    catalog = data / "catalog.sql"
    if not catalog.exists():
        return
    before = fingerprint(data / "record")
    with duckdb.connect(":memory:") as connection:
        try:
            connection.execute(catalog.read_text(encoding="utf-8"))
            always, problems = list(_twice(connection)), list(_inconsistent(connection))
        except duckdb.Error as error:
            if fingerprint(data / "record") != before:
                raise InterruptedLookError from error
            raise
    yield from always
    if fingerprint(data / "record") == before:
        yield from problems


def _twice(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    for table in _KEYED:
        query = f"SELECT song_id FROM {table} GROUP BY song_id HAVING count(*) > 1"  # noqa: S608
        if found := connection.execute(query).fetchall():
            yield f"{table} has an id twice: {found[:5]}"


def _inconsistent(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    for problem, query in _BROKEN.items():
        if found := connection.execute(query).fetchall():
            yield f"{problem}: {found[:5]}"
    means = connection.execute("SELECT mean FROM retrieval_index_info").fetchall()
    pairs = connection.execute(
        "SELECT r.embedding, i.embedding FROM clap_embeddings AS r JOIN retrieval_index AS i USING (song_id)"
    ).fetchall()
    if pairs:
        yield from _off_centre(np.array(means[0][0]), np.array(pairs))


def _off_centre(mean: "np.ndarray[Any, Any]", pairs: "np.ndarray[Any, Any]") -> Iterator[str]:
    centred = pairs[:, 0] - mean
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    error = float(np.abs(unit - pairs[:, 1]).max())
    if not error <= _TOLERANCE:
        yield f"the index was not centred with its mean: off by {error:.3g}"


def _files(data: Path) -> Iterator[str]:
    for path in [path for path in below(data / "record") if path.suffix == ".parquet"]:
        try:
            table = pq.ParquetFile(path).read()
        except FileNotFoundError:
            if "corpus" not in path.parts:  # superseded versions are swept away
                yield f"{path} has gone"
            continue
        ids = table["song_id"].to_pylist()
        if len(set(ids)) != len(ids):
            yield f"{path} has an id twice"
    if (data / "exports").exists():
        yield from _exports((data / "exports").resolve(strict=True))


def _exports(folder: Path) -> Iterator[str]:
    found = {}
    for path in sorted((folder / "embeddings").glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            ids, vectors = file["track_ids"].tolist(), file["embeddings"]
        if len(set(ids)) != len(ids) or vectors.shape != (len(ids), 512):
            yield f"{path} has {len(ids)} ids, {len(set(ids))} of them different, and {vectors.shape}"
        found[path.name] = (ids, vectors)
    index, normalised = found["clap_index.npz"], found["clap_embeddings_normalized.npz"]
    if index[0] != normalised[0] or not np.array_equal(index[1], normalised[1]):
        yield f"{folder}: the index is not the normalised table"
    with (folder / "merge_audio_features.csv").open(newline="", encoding="utf-8") as text:
        rows = list(csv.reader(text))
    if {len(row) for row in rows} != {57} or len({row[0] for row in rows}) != len(rows):
        yield f"{folder}: the feature table is torn or has an id twice"


if __name__ == "__main__":
    main()
