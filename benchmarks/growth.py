"""What the record costs as it grows: writes the table of docs/storage.md.

Synthetic rows in real Parquet files, the project's own code over them. CPU seconds of this process, the
median of several rounds, since other things may run on the machine; reading is from a warm page cache.

    python benchmarks/growth.py [--batches 1000 10000] [--tracks 10] [--folder FOLDER]
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from audio_assets.corpus import index_corpus, normalise_corpus
from audio_assets.embeddings import EmbeddingSettings, Windowing
from audio_assets.features import EXTRACTOR_VERSION, FEATURES
from audio_assets.library import Entry
from audio_assets.warehouse import (
    Record,
    arrow_schema,
    connect_live,
    fingerprint,
    ledger_from_table,
    ledger_to_table,
    pending,
    publish,
    sweep,
)
from audio_assets.warehouse.record import write_parquet

DOCS = Path(__file__).parents[1] / "docs" / "storage.md"
MARK = "<!-- written by benchmarks/growth.py -->"
SETTINGS = EmbeddingSettings("model", "revision", "weights", "config", Windowing(6), "float32")
VERSIONS = {
    "audio_features": ("extractor_version", EXTRACTOR_VERSION),
    "clap_embeddings": ("settings_version", SETTINGS.version),
}
ROUNDS = 3
FIRST_LOOK = "what is pending? first look at files that are all new"


def fill(record: Record, n_batches: int, n_tracks: int) -> None:
    """As a library that was taken in batch by batch would look; not synced, or it would take an hour."""
    rng = np.random.default_rng(0)
    tracks = [
        Entry(
            song_id=f"track-{number:08d}",
            audio_path=f"{number}.mp3",
            status="live",
            batch=f"batch-{number // n_tracks + 1:06d}",
            file_path=f"{number}.mp3",
            duration_s=30.0,
            content_sha256=f"{number:064x}",
        )
        for number in range(n_batches * n_tracks)
    ]
    ids = [track.song_id for track in tracks]
    record.write("track_manifest", ledger_to_table(tracks, pa.table({"song_id": ids, "audio_path": ids})))
    for start in range(0, len(tracks), n_tracks):
        some = tracks[start : start + n_tracks]
        vectors = rng.standard_normal((len(some), 512)) + 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        write(record, "audio_features", some, [features(rng) for _ in some])
        write(record, "clap_embeddings", some, [{"embedding": v.astype(np.float32)} for v in vectors])


def features(rng: np.random.Generator) -> dict[str, float]:
    """Numbers within the range that each feature's definition allows."""
    values = {}
    for feature in FEATURES:
        low = 0.0 if feature.lower is None else feature.lower
        high = low + 1.0 if feature.upper is None else feature.upper
        values[feature.name] = float(rng.uniform(low, high))
    return values


def write(record: Record, name: str, tracks: list[Entry], columns: list[dict[str, object]]) -> None:
    column, version = VERSIONS[name]
    rows = [
        {"song_id": t.song_id, "content_sha256": t.content_sha256, column: version, **c}
        for t, c in zip(tracks, columns, strict=True)
    ]
    assert tracks[0].batch is not None
    path = record.path(name, tracks[0].batch)
    path.parent.mkdir(parents=True)
    write_parquet(pa.Table.from_pylist(rows, schema=arrow_schema(name)), path)


def live_query(record: Record, query: str) -> None:
    with connect_live(record) as connection:
        connection.execute(query).fetchall()


def nothing_pending(record: Record) -> None:
    """As before every run and every scheduled backfill."""
    table = record.read("track_manifest")
    assert table is not None
    by_batch: dict[str, list[Entry]] = {}
    for track in ledger_from_table(table):
        assert track.batch is not None
        by_batch.setdefault(track.batch, []).append(track)
    for name, version in VERSIONS.items():
        for batch, tracks in by_batch.items():
            assert not pending(record, name, batch, tracks, version)


def rebuild(record: Record) -> None:
    normalise_corpus(record, SETTINGS)
    index_corpus(record, SETTINGS, None)


def measures(record: Record, data: Path) -> dict[str, Callable[[], object]]:
    table = record.read("track_manifest")
    assert table is not None
    tracks = ledger_from_table(table)
    middle = tracks[len(tracks) // 2].song_id
    return {
        "normalise and index": lambda: rebuild(record),
        "publish": lambda: publish(record, data),
        "is everything current? (fingerprint)": lambda: fingerprint(record.root),
        FIRST_LOOK: lambda: nothing_pending(record),
        "what is pending? from then on": lambda: nothing_pending(record),
        "sweep": lambda: sweep(record, data, 3),
        "live: batches": lambda: live_query(record, "SELECT * FROM batches"),
        "live: mean of a feature": lambda: live_query(record, "SELECT avg(tempo_bpm) FROM audio_features"),
        "live: one track": lambda: live_query(
            record, f"SELECT * FROM audio_features WHERE song_id = '{middle}'"
        ),
        "published: batches": lambda: published(data, "SELECT * FROM batches"),
        "published: mean of a feature": lambda: published(data, "SELECT avg(tempo_bpm) FROM audio_features"),
        "published: one track": lambda: published(
            data, f"SELECT * FROM audio_features WHERE song_id = '{middle}'"
        ),
    }


def published(data: Path, query: str) -> None:
    import duckdb

    with duckdb.connect(str((data / "warehouse.duckdb").resolve()), read_only=True) as connection:
        connection.execute(query).fetchall()


def cpu_s(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def measure(folder: Path, n_batches: int, n_tracks: int) -> dict[str, float]:
    data = Path(tempfile.mkdtemp(dir=folder, prefix="growth-"))
    try:
        record = Record(data / "record")
        fill(record, n_batches, n_tracks)
        found = {}
        for name, work in measures(record, data).items():
            found[name] = cpu_s(work, 1 if name == FIRST_LOOK else ROUNDS)
            print(f"{n_batches} batches: {name}: {found[name]:.3f} s", flush=True)
        return found
    finally:
        shutil.rmtree(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--tracks", type=int, default=10, help="tracks in a batch")
    parser.add_argument("--folder", type=Path, default=None, help="where to write the synthetic records")
    parser.add_argument("--dry-run", action="store_true", help="print only")
    arguments = parser.parse_args()
    found = {n: measure(arguments.folder, n, arguments.tracks) for n in arguments.batches}
    heads = [f"{n:,} batches, {n * arguments.tracks:,} tracks" for n in found]
    lines = [
        f"CPU seconds, batches of {arguments.tracks} tracks:",
        "",
        f"| | {' | '.join(heads)} |",
        f"|---|{'---:|' * len(heads)}",
        *(
            f"| {name} | {' | '.join(f'{of[name]:.3g}' for of in found.values())} |"
            for name in next(iter(found.values()))
        ),
        "",
    ]
    print("\n".join(lines))
    if not arguments.dry_run:
        before = DOCS.read_text(encoding="utf-8").partition(MARK)[0]
        DOCS.write_text(f"{before}{MARK}\n\n" + "\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
