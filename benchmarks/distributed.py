"""What workers bring, and what it costs to hand batches to them: writes benchmarks/results/distributed.json.

PostgreSQL, Redis, Dagster's daemon and Celery's workers, each worker on one core with one analysis process,
over synthesised clips of 30 s and the demo's model. For each number of workers three backfills are timed:

- a first one of two batches, which loads code and model in each worker, and does not count;
- one of all other batches, each of them a run for the features and a run for the embeddings;
- the same batches once more. Nothing is left to compute, so what this takes is the overhead.

The clock runs from the start of a backfill's first run to the end of its last; before and after, Dagster's
daemon looks after its backfills only every 30 s. CPU seconds are those of the workers, and of everything else
that belongs to it (daemon, code server, PostgreSQL, Redis); what other programs took of the machine meanwhile
is written down too.

    python benchmarks/distributed.py [--workers 1 2] [--batches 8] [--tracks 32] [--folder FOLDER]
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import psutil
import soundfile

from audio_assets.attempts import Attempts
from audio_assets.automation.backfills import launch, something_runs
from audio_assets.definitions import build_defs
from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
from audio_assets.outstanding import Work
from audio_assets.pipeline import open_instance
from audio_assets.warehouse import Record
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tools.database_servers import postgres, redis  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "distributed.json"
TABLES = ("audio_features", "clap_embeddings")
RATE_HZ, CLIP_S = 44_100, 30
WARM_UP_BATCHES = 2
POLL_S = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers to measure"
    )
    parser.add_argument("--batches", type=int, default=8, help="batches that count")
    parser.add_argument("--tracks", type=int, default=32, help="tracks in a batch")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_clips(Path(folder) / "music", (options.batches + WARM_UP_BATCHES) * options.tracks)
        measured = [measure(Path(folder), n, options.tracks) for n in options.workers]
    first = measured[0]
    for result in measured:
        result["speedup"] = round(result["tracks_per_s"] / first["tracks_per_s"], 3)
        # What it would be on cores of one's own: where the workers' CPU seconds decide.
        result["speedup_by_worker_cpu"] = round(
            result["workers"] * first["worker_cpu_s"] / result["worker_cpu_s"] / first["workers"], 3
        )
    machine = {"cores": os.cpu_count(), "clip_s": CLIP_S, "tracks_a_batch": options.tracks}
    RESULTS.write_text(
        json.dumps({**machine, "batches": options.batches, "measured": measured}, indent=1) + "\n"
    )
    print(RESULTS.read_text())


def write_clips(folder: Path, n_clips: int) -> None:
    """Chords with a pulse, each of another pitch and tempo."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    t = np.arange(CLIP_S * RATE_HZ) / RATE_HZ
    hiss = 0.01 * rng.standard_normal(len(t))
    for number in range(n_clips):
        root_hz, period_s = rng.uniform(110, 440), 60 / rng.uniform(70, 170)
        chord = sum(np.sin(2 * np.pi * root_hz * ratio * t) for ratio in (1, 5 / 4, 3 / 2))
        soundfile.write(
            folder / f"{number:04d}.wav", 0.2 * chord * np.exp(-6 * (t % period_s)) + hiss, RATE_HZ
        )


def measure(folder: Path, n_workers: int, n_tracks: int) -> dict:
    """Time the backfills with so many workers."""
    data = folder / f"data-{n_workers}"
    (data / "dagster").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "celery" / "dagster.yaml", data / "dagster")
    model = copy_demo_checkpoint(folder / f"model-{n_workers}")
    with postgres() as database, redis() as broker:
        os.environ |= {
            "AUDIO_ASSETS_DATABASE_URL": database.url,
            "AUDIO_ASSETS_BROKER_URL": broker.url,
            "AUDIO_ASSETS_DATA": str(data),
            "AUDIO_ASSETS_LIBRARY": str(folder / "music"),
            "AUDIO_ASSETS_CLAP_MODEL": str(model),
            "AUDIO_ASSETS_AUTOMATION": "off",
            "DAGSTER_HOME": str(data / "dagster"),
            "PYTHONPATH": str(ROOT),
        }
        with open_instance(data) as instance:
            batches = take_in(instance, folder / "music", data, n_tracks)
            with processes(n_workers, folder) as (workers, daemon):
                others = [daemon, psutil.Process(database.pid), psutil.Process(broker.pid)]
                site = Site(instance, data, workers, others)
                site.backfill("warm-up", batches[:WARM_UP_BATCHES])
                counted = batches[WARM_UP_BATCHES:]
                work, overhead = site.backfill("work", counted), site.backfill("overhead", counted)
            loads = n_loads(instance)
        assert len(rows(data)) == len(batches) * n_tracks, "tracks are missing, or there twice"
    n_runs = len(counted) * len(TABLES)
    return {
        "workers": n_workers,
        "tracks": len(counted) * n_tracks,
        "tracks_per_s": round(len(counted) * n_tracks / work["wall_s"], 3),
        "model_loads": loads,
        **work,
        "overhead_per_run": {
            "wall_s": round(overhead["wall_s"] * n_workers / n_runs, 3),
            "worker_cpu_s": round(overhead["worker_cpu_s"] / n_runs, 3),
            "other_cpu_s": round(overhead["other_cpu_s"] / n_runs, 3),
            "cores_busy_with_others": overhead["cores_busy_with_others"],
        },
    }


def take_in(instance: dg.DagsterInstance, music: Path, data: Path, n_tracks: int) -> list[str]:
    """Make the batches; their names."""
    library = TrackLibrary(root=str(music), batch_size=n_tracks)
    job = build_defs(library=library).resolve_job_def("refresh_manifest")
    assert job.execute_in_process(instance=instance).success
    ledger = Warehouse(data_dir=str(data)).live_tracks()
    return sorted({track.batch for track in ledger if track.batch})


@contextlib.contextmanager
def processes(n_workers: int, folder: Path) -> Iterator[tuple[list[psutil.Process], psutil.Process]]:
    """Run the workers, each on a core of its own, and the daemon, wherever there is room."""
    worker = ["-m", "celery", "--app", "audio_assets.distributed.worker", "worker", "--concurrency", "1"]
    commands = [["-m", "audio_assets.daemon", "run", "-m", "audio_assets.definitions"]]
    commands += [[*worker, "--queues", "cpu,clap,dagster", "--hostname", f"{n}@%h"] for n in range(n_workers)]
    cores = sorted(os.sched_getaffinity(0))
    started = []
    with (folder / f"log-{n_workers}").open("wb") as log:
        for number, command in enumerate(commands):
            process = psutil.Popen([sys.executable, *command], stdout=log, stderr=log, cwd=folder)
            if number:
                process.cpu_affinity([cores[(number - 1) % len(cores)]])
            started.append(process)
    try:
        yield started[1:], started[0]
    finally:
        descendants = [child for process in started for child in process.children(recursive=True)]
        for process in [*started, *descendants]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for process in started:
            process.wait()


@dataclass
class Site:
    """What is running."""

    instance: dg.DagsterInstance
    data: Path
    workers: list[psutil.Process]
    others: list[psutil.Process]

    def backfill(self, title: str, batches: list[str]) -> dict:
        """Launch a backfill of batches, wait for its end, and say what it took."""
        tracks = Warehouse(data_dir=str(self.data)).live_tracks()
        work = [
            Work(table, batch, [t for t in tracks if t.batch == batch], None, title)
            for table in TABLES
            for batch in batches
        ]
        before = self._cpu()
        began = time.monotonic()
        options = {"backfill_id": title, "title": title, "launched_by": "benchmark"}
        ids = launch(self.instance, work, Attempts(self.data, 99), **options)
        while something_runs(self.instance):
            time.sleep(POLL_S)
        observed_s = time.monotonic() - began
        filters = [dg.RunsFilter(tags={"dagster/backfill": backfill_id}) for backfill_id in ids]
        runs = [run for each in filters for run in self.instance.get_run_records(each)]
        assert len(runs) == len(work)
        wall_s = max(run.end_time for run in runs) - min(run.start_time for run in runs)
        workers, others, machine, this = (now - then for now, then in zip(self._cpu(), before, strict=True))
        failed = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert not failed, failed
        return {
            "wall_s": round(wall_s, 2),
            "worker_cpu_s": round(workers, 2),
            "other_cpu_s": round(others, 2),
            "cores_busy_with_others": round((machine - workers - others - this) / observed_s, 2),
        }

    def _cpu(self) -> tuple[float, float, float, float]:
        """CPU seconds so far: of the workers, of what serves them, of the whole machine, of this process."""
        times = psutil.cpu_times()
        busy_s = times.user + times.nice + times.system
        return (
            tree_cpu_s(self.workers),
            tree_cpu_s(self.others),
            busy_s,
            sum(psutil.Process().cpu_times()[:2]),
        )


def tree_cpu_s(roots: list[psutil.Process]) -> float:
    """CPU seconds of processes and all that descends from them, of those that have ended too."""
    total_s = 0.0
    for process in [*roots, *(child for root in roots for child in root.children(recursive=True))]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total_s += sum(process.cpu_times()[:4])
    return total_s


def n_loads(instance: dg.DagsterInstance) -> int:
    """How often the model was loaded, as the runs' logs say."""
    entries = (entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id))
    return sum(entry.user_message.startswith("Loaded ") for entry in entries)


def rows(data: Path) -> list[str]:
    """Tracks with a row in both tables, each as often as it has."""
    record = Record(data / "record")
    found = [
        [i for b in record.batches(table) for i in record.read(table, b)["song_id"].to_pylist()]
        for table in TABLES
    ]
    assert sorted(found[0]) == sorted(found[1])
    return found[0]


if __name__ == "__main__":
    main()
