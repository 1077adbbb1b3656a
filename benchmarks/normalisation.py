"""What centring, indexing, publishing and exporting cost at a million tracks: time, and the memory they hold.

Synthetic vectors shaped like CLAP's in real Parquet files, batches of 256 tracks; every step in a process of
its own. Prints the table that docs/storage.md tells of; a million tracks need 30 GB.

    python benchmarks/normalisation.py [--tracks 100000 1000000] [--folder FOLDER]
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from retrieval_cost.vectors import raw_blocks

from audio_assets.corpus import index_corpus, normalise_corpus
from audio_assets.embeddings import EmbeddingSettings, Windowing
from audio_assets.features import EXTRACTOR_VERSION, FEATURES
from audio_assets.warehouse import Record, arrow_schema, export_notebook_files, publish
from audio_assets.warehouse.record import write_parquet
from audio_assets.warehouse.sweep import size_of

SETTINGS = EmbeddingSettings("model", "revision", "weights", "config", Windowing(6), "float32")
BATCH = 256
NEVER = 10**9

STEPS: dict[str, Callable[[Path], object]] = {
    "centre and normalise": lambda data: normalise_corpus(Record(data / "record"), SETTINGS),
    "index, exact": lambda data: index_corpus(Record(data / "record"), SETTINGS, None, NEVER),
    "index, with the approximate one": lambda data: index_corpus(Record(data / "record"), SETTINGS, None, 1),
    "publish": lambda data: publish(Record(data / "record"), data),
    "export": lambda data: export_notebook_files(Record(data / "record"), data),
}


def fill(record: Record, n_tracks: int, n_in_batch: int = BATCH, *, with_vectors: bool = True) -> None:
    """As a library that was taken in batch by batch would look; not synced, or it would take an hour."""
    numbers = np.arange(n_tracks)
    ids = pa.array([f"track-{number:08d}" for number in numbers])
    hashes = pa.array([f"{number:064x}" for number in numbers])
    write_manifest(record, ids, hashes, n_in_batch)
    rng = np.random.default_rng(0)
    vectors = in_batches(raw_blocks(n_tracks), n_in_batch) if with_vectors else None
    for start in range(0, n_tracks, n_in_batch):
        n_rows = min(n_in_batch, n_tracks - start)
        rows = pa.array(start + rng.permutation(n_rows))  # as tracks are finished
        batch = f"batch-{start // n_in_batch + 1:06d}"
        known = {"song_id": ids.take(rows), "content_sha256": hashes.take(rows)}
        if vectors is not None:
            embedding = pa.FixedSizeListArray.from_arrays(pa.array(next(vectors).ravel()), 512)
            version = {"settings_version": SETTINGS.version, "embedding": embedding}
            write(record, "clap_embeddings", batch, {**known, **version})
        numbers_of = {feature.name: possible(feature, rng, n_rows) for feature in FEATURES}
        write(
            record, "audio_features", batch, {**known, "extractor_version": EXTRACTOR_VERSION, **numbers_of}
        )


def in_batches(blocks: Iterator[np.ndarray], n_in_batch: int) -> Iterator[np.ndarray]:
    waiting = np.empty((0, 512), np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) >= n_in_batch:
            yield waiting[:n_in_batch]
            waiting = waiting[n_in_batch:]
    if len(waiting):
        yield waiting


def possible(feature, rng: np.random.Generator, n: int) -> np.ndarray:
    low = 0.0 if feature.lower is None else feature.lower
    return rng.uniform(low, low + 1.0 if feature.upper is None else feature.upper, n)


def write(record: Record, name: str, batch: str, columns: dict[str, object]) -> None:
    schema = arrow_schema(name)
    n_rows = len(columns["song_id"])
    whole = [
        pa.array([columns[f.name]] * n_rows, f.type)
        if isinstance(columns.get(f.name), str)
        else columns.get(f.name, pa.nulls(n_rows, f.type))
        for f in schema
    ]
    path = record.path(name, batch)
    path.parent.mkdir(parents=True)
    write_parquet(pa.table(whole, schema=schema), path)


def write_manifest(record: Record, ids: pa.Array, hashes: pa.Array, n_in_batch: int) -> None:
    schema = arrow_schema("track_manifest")
    batches = [f"batch-{row // n_in_batch + 1:06d}" for row in range(len(ids))]
    given = {
        "song_id": ids,
        "audio_path": ids,
        "file_path": ids,
        "content_sha256": hashes,
        "batch": pa.array(batches),
        "status": pa.array(["live"] * len(ids)),
    }
    columns = [given.get(f.name, pa.nulls(len(ids), f.type)) for f in schema]
    record.write("track_manifest", pa.table(columns, schema=schema))


@contextmanager
def peaks() -> Iterator[dict[str, float]]:
    """Largest memory of this process meanwhile, in MB: its own, and with the pages of files it has mapped."""
    found = {"own_mb": 0.0, "with_mapped_mb": 0.0}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            now = {
                line.split(":")[0]: int(line.split()[1]) / 1024
                for line in lines
                if line.startswith(("VmRSS", "Rss"))
            }
            found["own_mb"] = max(found["own_mb"], now["RssAnon"])
            found["with_mapped_mb"] = max(found["with_mapped_mb"], now["VmRSS"])

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield found
    finally:
        ended.set()
        watching.join()


def measure_step(step: str, data: Path) -> None:
    cpu, wall = time.process_time(), time.monotonic()
    with peaks() as found:
        STEPS[step](data)
    print(json.dumps({"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - wall, **found}))


def measure(folder: Path | None, n_tracks: int) -> dict[str, dict[str, float]]:
    data = Path(tempfile.mkdtemp(dir=folder, prefix="normalisation-"))
    try:
        fill(Record(data / "record"), n_tracks)
        found = {}
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, "--folder", str(data)]
            before = size_of(data)
            found[step] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            found[step]["written_mb"] = (size_of(data) - before) / 1e6
            print(n_tracks, step, found[step], flush=True)
        return found
    finally:
        shutil.rmtree(data)


def table(found: dict[int, dict[str, dict[str, float]]]) -> str:
    heads = [f"{n:,} tracks: {what}" for n in found for what in ("CPU s", "wall s", "memory MB", "+ mapped")]
    keys = ("cpu_s", "wall_s", "own_mb", "with_mapped_mb")
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for step in STEPS:
        cells = (
            f"{of[step][key]:.3g}" if of[step][key] < 100 else f"{of[step][key]:.0f}"
            for of in found.values()
            for key in keys
        )
        lines.append(f"| {step} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tracks", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=None, help="where to write the synthetic records")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        measure_step(arguments.step, arguments.folder)
        return
    print(table({n: measure(arguments.folder, n) for n in arguments.tracks}))


if __name__ == "__main__":
    main()
