"""Every table against the oracle, once all is current.

What belongs here: which rows there must be, and with which numbers. What does not: waiting until all is
current, and what a reader may see meanwhile (``readers``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from audio_assets.features import FEATURE_NAMES
from audio_assets.library.discovery import discover
from audio_assets.warehouse import newest_generation
from tools.soak.edits import Track
from tools.soak.oracle import Oracle, Verdict

#: What float32 arithmetic in another order may differ by; all that is not centred has to be the same bits.
CENTRING_TOLERANCE = 1e-6

Vectors = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Expected:
    """What every door must show.

    Parameters
    ----------
    by_path : dict of str to Verdict
        Of each file.
    failures : set of (str, str, str)
        Path, stage and code.
    features : dict of str to dict
        The 56 columns by path.
    raw, normalised : dict of str to ndarray
        Vectors by path.
    mean : ndarray of float64, shape (512,)
        Of the raw vectors.
    """

    by_path: dict[str, Verdict]
    failures: set[tuple[str, str, str]]
    features: dict[str, dict[str, float | None]]
    raw: Vectors
    normalised: Vectors
    mean: npt.NDArray[np.float64]


def expect(tracks: Mapping[str, Track], oracle: Oracle) -> Expected:
    """Say what the tables must hold for these files."""
    by_path = {name: oracle.verdict(track.content) for name, track in tracks.items()}
    raw = {name: v.embedding for name, v in by_path.items() if not isinstance(v.embedding, str)}
    vectors = np.array([raw[name] for name in sorted(raw)], dtype=np.float64)
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    unit = (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)
    return Expected(
        by_path=by_path,
        failures={(name, *failure) for name, v in by_path.items() for failure in v.failures.items()},
        features={name: v.features for name, v in by_path.items() if not isinstance(v.features, str)},
        raw=raw,
        normalised=dict(zip(sorted(raw), unit, strict=True)),
        mean=mean,
    )


def bookkeeping(root: Path, tracks: Mapping[str, Track], oracle: Oracle) -> Iterator[str]:
    """Compare what the driver believes with the files, and the oracle with how they were made."""
    on_disk = {str(path): (root / path).read_bytes() for path in discover(root)}
    yield from _keys("files", set(on_disk), set(tracks))
    for name, track in tracks.items():
        if on_disk.get(name) != track.content:
            yield f"files: {name} does not hold what it should"
        codes = set(oracle.verdict(track.content).failures.values())
        known = track.failures
        if known is not None and not (codes <= {str(code) for code in known} and bool(codes) == bool(known)):
            yield f"oracle: {name} gives {codes}, was made to give {known}"


def published(data: Path, tracks: Mapping[str, Track], expected: Expected) -> Iterator[str]:
    """Compare the newest generation."""
    path = newest_generation(data)
    if path is None:
        yield "published: nothing"
        return
    with duckdb.connect(str(path), read_only=True) as connection:
        yield from (f"published {line}" for line in _tables(connection, tracks, expected))


def live(data: Path, tracks: Mapping[str, Track], expected: Expected) -> Iterator[str]:
    """Compare the live record, by catalog.sql."""
    with duckdb.connect(":memory:") as connection:
        connection.execute((data / "catalog.sql").read_text(encoding="utf-8"))
        yield from (f"live {line}" for line in _tables(connection, tracks, expected))


def exports(data: Path, ids: Mapping[str, str], expected: Expected) -> Iterator[str]:
    """Compare the files for notebooks; `ids` by path."""
    import pandas as pd

    folder = data / "exports"
    table = pd.read_csv(folder / "merge_audio_features.csv", dtype={"song_id": str})
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    features = {str(row.pop("song_id")): row for row in rows}
    yield from _same("csv", features, {ids[name]: row for name, row in expected.features.items()})
    of_file = {
        "clap_embeddings": (expected.raw, 0.0),
        "clap_embeddings_normalized": (expected.normalised, CENTRING_TOLERANCE),
        "clap_index": (expected.normalised, CENTRING_TOLERANCE),
    }
    for name, (vectors, tolerance) in of_file.items():
        with np.load(folder / "embeddings" / f"{name}.npz", allow_pickle=False) as file:
            found = dict(zip(file["track_ids"].tolist(), file["embeddings"], strict=True))
            if name == "clap_index":
                yield from _close("npz mean", file["mean"], expected.mean)
        wanted = {ids[path]: vector for path, vector in vectors.items()}
        yield from _vectors(f"npz {name}", found, wanted, tolerance)


def ids_by_path(data: Path) -> dict[str, str]:
    """Ids that the newest generation gives the files; raises where a file has two."""
    path = newest_generation(data)
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute("SELECT audio_path, song_id FROM manifest").fetchall()
    return dict(rows)


def _tables(
    connection: duckdb.DuckDBPyConnection, tracks: Mapping[str, Track], expected: Expected
) -> Iterator[str]:
    manifest = _rows(connection, "SELECT * FROM manifest")
    ids = {row["audio_path"]: row["song_id"] for row in manifest}
    if len(ids) != len(manifest) or len(set(ids.values())) != len(manifest):
        yield "manifest: a path or id is there twice"
    yield from _keys("manifest", set(ids), set(tracks))
    if set(ids) != set(tracks):
        return
    yield from _manifest(manifest, tracks, expected)
    features = {row.pop("song_id"): row for row in _rows(connection, "SELECT * FROM audio_features")}
    yield from _same("audio_features", features, {ids[n]: row for n, row in expected.features.items()})
    failures = _rows(connection, "SELECT song_id, stage, code FROM track_failures")
    found = {tuple(row.values()) for row in failures}
    wanted = {(ids[name], stage, code) for name, stage, code in expected.failures}
    if len(found) != len(failures) or found != wanted:
        yield f"track_failures: {sorted(found ^ wanted)} differ, {len(failures)} rows"
    for table, vectors, tolerance in (
        ("clap_embeddings", expected.raw, 0.0),
        ("clap_embeddings_normalized", expected.normalised, CENTRING_TOLERANCE),
        ("retrieval_index", expected.normalised, CENTRING_TOLERANCE),
    ):
        pairs = connection.execute(f"SELECT song_id, embedding FROM {table}").fetchall()  # noqa: S608
        if len(dict(pairs)) != len(pairs):
            yield f"{table}: an id is there twice"
        vectors_found = {song_id: np.array(vector, dtype=np.float32) for song_id, vector in pairs}
        vectors_wanted = {ids[name]: vector for name, vector in vectors.items()}
        yield from _vectors(table, vectors_found, vectors_wanted, tolerance)
    yield from _totals(connection, expected)


def _manifest(
    manifest: list[dict[str, Any]], tracks: Mapping[str, Track], expected: Expected
) -> Iterator[str]:
    for row in manifest:
        path = row["audio_path"]
        track, verdict = tracks[path], expected.by_path[path]
        wanted = {
            **verdict.measured,
            "status": "rejected" if verdict.rejected else "live",
            "failure_code": verdict.rejected,
            "file_path": path,
            "song_id": track.song_id or row["song_id"],
        }
        for name, value in wanted.items():
            if row[name] != value:
                yield f"manifest: {path} has {name} {row[name]!r}, not {value!r}"
        if (row["batch"] is None) and row["status"] == "live":
            yield f"manifest: {path} is live without a batch"


def _totals(connection: duckdb.DuckDBPyConnection, expected: Expected) -> Iterator[str]:
    ((mean, n_tracks),) = connection.execute("SELECT mean, n_tracks FROM retrieval_index_info").fetchall()
    yield from _close("index mean", np.array(mean), expected.mean)
    stages = [stage for _, stage, _ in expected.failures]
    n_live = len(expected.by_path) - stages.count("manifest")
    wanted = (
        n_live,
        *(len(expected.features), stages.count("features")),
        *(len(expected.raw), stages.count("embedding")),
    )
    (found,) = connection.execute(
        "SELECT sum(n_live), sum(n_features), sum(n_feature_failures), sum(n_embeddings), "
        "sum(n_embedding_failures) FROM batches"
    ).fetchall()
    if found != wanted or n_tracks != len(expected.raw):
        yield f"batches: totals {found}, not {wanted}; index of {n_tracks}"
    versions = "SELECT count(DISTINCT (weights_sha256, windowing, precision, backend)) FROM clap_embeddings"
    if connection.execute(versions).fetchall() != [(1,)]:
        yield "clap_embeddings: of more than one version"


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return rows


def _keys(where: str, found: set[str], wanted: set[str]) -> Iterator[str]:
    if missing := sorted(wanted - found):
        yield f"{where}: missing {missing}"
    if extra := sorted(found - wanted):
        yield f"{where}: should not be there {extra}"


def _same(
    where: str, found: Mapping[str, Mapping[Any, Any]], wanted: Mapping[str, Mapping[str, float | None]]
) -> Iterator[str]:
    yield from _keys(where, set(found), set(wanted))
    for song_id in sorted(set(found) & set(wanted)):
        names = [name for name in FEATURE_NAMES if found[song_id][name] != wanted[song_id][name]]
        if names:
            name = names[0]
            pair = f"{found[song_id][name]!r}, not {wanted[song_id][name]!r}"
            yield f"{where}: {song_id} differs in {len(names)} columns, such as {name}: {pair}"


def _vectors(where: str, found: Vectors, wanted: Vectors, tolerance: float) -> Iterator[str]:
    yield from _keys(where, set(found), set(wanted))
    both = sorted(set(found) & set(wanted))
    errors = [float(np.abs(found[song_id].astype(np.float64) - wanted[song_id]).max()) for song_id in both]
    off = [(error, song_id) for error, song_id in zip(errors, both, strict=True) if not error <= tolerance]
    if off:
        yield f"{where}: {len(off)} of {len(both)} are off, by {max(off)[0]:.3g} at most ({max(off)[1]})"


def _close(where: str, found: npt.NDArray[Any], wanted: npt.NDArray[np.float64]) -> Iterator[str]:
    error = float(np.abs(found.astype(np.float64) - wanted).max()) if found.shape == wanted.shape else np.inf
    if not error <= CENTRING_TOLERANCE:
        yield f"{where}: off by {error:.3g}"
