"""What a million and ten million tracks cost besides their analysis: bookkeeping, launching, publishing.

Real Dagster storage (the shipped SQLite, and PostgreSQL), a real Parquet record and a real index over made-up
numbers. Results go to benchmarks/results/scale.json, one entry for each part and size; docs/scaling.md
tells of them. Each part runs in a process of its own, and leaves nothing behind.

    python benchmarks/scale.py --parts bookkeeping queue --batches 40 400 4000 --storage sqlite postgres
    python benchmarks/scale.py --parts storage --batches 4000             # a million tracks: 20 GB
    python benchmarks/scale.py --parts features --batches 40000           # ten million without vectors: 15 GB

PostgreSQL is that of Debian's package postgresql-15, a server of the benchmark's own.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
from normalisation import STEPS, fill, peaks, write_manifest
from scale_cost.bookkeeping import (
    demo_model,
    measure_attempts,
    measure_ledger,
    measure_partitions,
)
from scale_cost.instances import STORAGES, open_measured
from scale_cost.launching import (
    BACKFILL,
    folder_of_definitions,
    measure_daemon,
    measure_launch,
    measure_runs,
)
from scale_cost.meter import Meter
from scale_cost.queries import measure_queries
from scale_cost.queue import measure_queue

from audio_assets.partitions import register_batches
from audio_assets.warehouse import sweep
from audio_assets.warehouse.sweep import size_of
from resources.clap_model import ClapModel
from resources.warehouse import Warehouse

RESULTS = Path(__file__).parent / "results" / "scale.json"
#: Parts that differ by Dagster's storage.
OF_DAGSTER = ("bookkeeping", "launch", "queue")
#: Real runs that are measured with so many partitions registered.
RUNS = 5


def keys(n_batches: int) -> list[str]:
    return [f"batch-{number + 1:06d}" for number in range(n_batches)]


def ledger_only(warehouse: Warehouse, n_tracks: int, n_in_batch: int) -> None:
    ids = pa.array([f"track-{number:08d}" for number in range(n_tracks)])
    hashes = pa.array([f"{number:064x}" for number in range(n_tracks)])
    write_manifest(warehouse.record, ids, hashes, n_in_batch)


def bookkeeping(warehouse: Warehouse, arguments: argparse.Namespace, meter_of: Callable[..., Meter]) -> Meter:
    batches = keys(arguments.n_batches)
    with open_measured(warehouse.path, arguments.store) as (instance, server_cpu_s):
        meter = meter_of(server_cpu_s)
        measure_partitions(instance, warehouse, batches, meter)
    return meter


def ledger(warehouse: Warehouse, arguments: argparse.Namespace, meter_of: Callable[..., Meter]) -> Meter:
    batches, meter = keys(arguments.n_batches), meter_of()
    ledger_only(warehouse, len(batches) * arguments.tracks, arguments.tracks)
    measure_ledger(warehouse, batches, meter)
    measure_attempts(warehouse.path, batches, meter)
    return meter


def launch(warehouse: Warehouse, arguments: argparse.Namespace, meter_of: Callable[..., Meter]) -> Meter:
    batches = keys(arguments.n_batches)
    with launched(warehouse, arguments, meter_of) as (instance, model, meter):
        measure_daemon(instance, len(batches), meter, arguments.most_s)
        measure_runs(instance, warehouse, model, meter, batches[: RUNS + 1])
    return meter


def queue(warehouse: Warehouse, arguments: argparse.Namespace, meter_of: Callable[..., Meter]) -> Meter:
    with launched(warehouse, arguments, meter_of) as (instance, _, meter):
        measure_queue(instance, BACKFILL, keys(arguments.n_batches), meter)
    return meter


@contextmanager
def launched(
    warehouse: Warehouse, arguments: argparse.Namespace, meter_of: Callable[..., Meter]
) -> Iterator[tuple[dg.DagsterInstance, ClapModel, Meter]]:
    """A library of which nothing is computed, and a backfill of all of it."""
    batches, n_in_batch = keys(arguments.n_batches), arguments.tracks
    ledger_only(warehouse, len(batches) * n_in_batch, n_in_batch)
    model = demo_model(warehouse.path)
    os.environ.update(folder_of_definitions(warehouse.path, model))
    with open_measured(warehouse.path, arguments.store) as (instance, server_cpu_s):
        register_batches(instance, batches)
        meter = meter_of(server_cpu_s)
        measure_launch(instance, warehouse, model, meter)
        yield instance, model, meter


def storage(warehouse: Warehouse, arguments: argparse.Namespace, meter_of: Callable[..., Meter]) -> Meter:
    return _storage(warehouse, arguments, meter_of(), with_vectors=True)


def features(warehouse: Warehouse, arguments: argparse.Namespace, meter_of: Callable[..., Meter]) -> Meter:
    return _storage(warehouse, arguments, meter_of(), with_vectors=False)


def _storage(
    warehouse: Warehouse, arguments: argparse.Namespace, meter: Meter, *, with_vectors: bool
) -> Meter:
    data, n_tracks = warehouse.path, arguments.n_batches * arguments.tracks
    with meter.step("make up the record (of the benchmark, not synced)"):
        fill(warehouse.record, n_tracks, arguments.tracks, with_vectors=with_vectors)
    of_vectors = (
        "centre and normalise",
        "index, exact" if n_tracks < 200_000 else "index, with the approximate one",
    )
    for name in (*(of_vectors if with_vectors else ()), "publish"):
        before = size_of(data)
        with peaks() as memory, meter.step(name) as found:
            STEPS[name](data)
        found.update(memory)
        meter.steps[name].update(written_mb=(size_of(data) - before) / 1e6, **memory)
    with meter.step("sweep"):
        sweep(warehouse.record, data, 3)
    measure_queries(warehouse, n_tracks, meter, with_vectors=with_vectors)
    return meter


PARTS = {part.__name__: part for part in (bookkeeping, ledger, launch, queue, storage, features)}


def measure_here(arguments: argparse.Namespace) -> None:
    """Measure one part at one size over one storage, in this process."""
    data = Path(tempfile.mkdtemp(dir=arguments.folder, prefix="scale-"))
    data.chmod(0o755)  # PostgreSQL's own user has to get to its folder
    try:
        warehouse = Warehouse(data_dir=str(data))
        with peaks() as memory:
            meter = PARTS[arguments.parts[0]](warehouse, arguments, Meter)
        print(json.dumps({"steps": meter.steps, **memory}))
    finally:
        shutil.rmtree(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--batches", type=int, nargs="+", default=[40, 400])
    parser.add_argument("--tracks", type=int, default=250, help="tracks in a batch")
    parser.add_argument("--storage", nargs="+", choices=STORAGES, default=["sqlite"])
    parser.add_argument("--most-s", type=float, default=600.0, help="how long the daemon may queue runs")
    parser.add_argument("--folder", type=Path, default=None, help="where to work")
    parser.add_argument("--here", dest="n_batches", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.n_batches:
        arguments.store = arguments.storage[0]
        measure_here(arguments)
        return
    for part in arguments.parts:
        stores = arguments.storage if part in OF_DAGSTER else ["sqlite"]
        for store in stores:
            for n_batches in arguments.batches:
                _measure(part, store, n_batches, arguments)


def _measure(part: str, store: str, n_batches: int, arguments: argparse.Namespace) -> None:
    name = f"{part}, {store}" if part in OF_DAGSTER else part
    print(f"{name}, {n_batches} batches of {arguments.tracks} tracks", file=sys.stderr, flush=True)
    command = [
        *(sys.executable, __file__, "--here", str(n_batches), "--parts", part, "--storage", store),
        *("--tracks", str(arguments.tracks), "--most-s", str(arguments.most_s)),
        *(("--folder", str(arguments.folder)) if arguments.folder else ()),
    ]
    load = np.round(os.getloadavg(), 1).tolist()
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    entry = {
        "tracks_a_batch": arguments.tracks,
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "load": load,
        **found,
    }
    known.setdefault(name, {})[str(n_batches)] = entry
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
