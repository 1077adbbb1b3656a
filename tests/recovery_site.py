"""A library, a data folder and a daemon over them that the recovery tests break in every way.

The daemon, its code server, its runs and their workers are real processes. What is not the product's: the
daemon looks more often, runs can be held at gates (``recovery/recovery_location.py``), and tracks named so
take down who reads them (``recovery/soundfile.py``).
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from conftest import Workplace
from dagster._core.scheduler.instigation import InstigatorTick
from servers import processes_over

from audio_assets.pipeline import dagster_home
from audio_assets.warehouse import Record, arrow_schema, connect_live
from audio_assets.warehouse.journal import Journal

TESTS = Path(__file__).parent
PATHS = [str(folder) for folder in (TESTS / "recovery", TESTS / "distributed", TESTS.parent)]
QUICK = {
    "AUDIO_ASSETS_AUTOMATION": "on",
    "AUDIO_ASSETS_SENSOR_INTERVAL_S": "3",
    "AUDIO_ASSETS_SETTLE_S": "0",
    "AUDIO_ASSETS_MOST_ATTEMPTS": "1",
}
WAIT_S = float(os.environ.get("AUDIO_ASSETS_TEST_WAIT_S", "600"))
CANCELED, FAILURE, STARTED, SUCCESS = (
    dg.DagsterRunStatus.CANCELED,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.SUCCESS,
)


class Site:
    """What a test sees and does."""

    LOCATION = "recovery_location"

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self.data = workplace.data
        self.gates = workplace.library.parent / "gates"
        self.gates.mkdir()
        self.log = self.gates.parent / "daemon.log"
        self.record = Record(self.data / "record")
        # A run whose worker has died is noticed by a look every 10 s; here every second.
        settings = dagster_home(self.data) / "dagster.yaml"
        text = settings.read_text()
        settings.write_text(text.replace("poll_interval_seconds: 10", "poll_interval_seconds: 1"))
        self.instance = dg.DagsterInstance.from_config(str(settings.parent))
        self._semitone = 0

    # --- processes

    def environment(self) -> dict[str, str]:
        """Variables of the daemon and all that works for it."""
        return {
            **os.environ,
            **QUICK,
            "PYTHONPATH": os.pathsep.join(PATHS),
            "RECOVERY_GATES": str(self.gates),
            "AUDIO_ASSETS_DATA": str(self.data),
            "AUDIO_ASSETS_LIBRARY": str(self.workplace.library),
            "AUDIO_ASSETS_CLAP_MODEL": self.workplace.model,
            "DAGSTER_HOME": str(dagster_home(self.data)),
        }

    def start(self, **environment: str) -> int:
        """Start the daemon, as a service manager would; its process id."""
        variables = {**self.environment(), **environment}
        command = [sys.executable, "-m", "recovery_daemon", "run", "-m", self.LOCATION]
        with self.log.open("ab") as output:
            self._log_before = output.tell()
            self.daemon = subprocess.Popen(
                command, env=variables, stdout=output, stderr=output, start_new_session=True
            )
        return self.daemon.pid

    def kill(self, *pids: int) -> None:
        """Kill -9."""
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if self.daemon.pid in pids:
            self.daemon.wait()

    def daemon_ticks(self) -> bool:
        """Whether the daemon that was started last has looked at the library."""
        return "library_changes skipped" in self.log.read_text()[self._log_before :]

    def processes(self) -> list[int]:
        """Find the daemon and all that descends from it; their environment names the data folder."""
        return processes_over(self.data)

    def code_servers(self) -> list[int]:
        """Processes that evaluate sensors for the daemon and start its runs; more than one at a change."""
        found = []
        for pid in self.processes():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                if b"grpc" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def stop(self) -> None:
        for gate in self.gates.iterdir():
            gate.unlink()
        self.daemon.send_signal(signal.SIGINT)
        try:
            self.daemon.wait(20)
        except subprocess.TimeoutExpired:
            pass
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            self.daemon.wait()

    # --- gates

    def shut(self, gate: str) -> None:
        """Hold whoever comes to a gate from now on."""
        for path in self.gates.glob(f"{gate}.reached-*"):
            path.unlink()
        (self.gates / gate).touch()

    def open(self, gate: str) -> None:
        (self.gates / gate).unlink(missing_ok=True)

    def held(self, gate: str, n: int = 1) -> list[int]:
        """Wait until so many processes stand at a gate; their process ids."""

        def pids() -> list[int]:
            return [int(path.name.rpartition("-")[2]) for path in self.gates.glob(f"{gate}.reached-*")]

        self.wait(lambda: len(pids()) >= n, f"{n} at gate {gate}")
        return pids()

    def launch(self, job: str) -> None:
        """Ask the daemon for a run of a job."""
        request = self.gates / "launch.written"
        request.write_text(job)
        request.rename(self.gates / "launch")

    # --- music

    def drop(self, *names: str) -> set[str]:
        """Put tracks of one second each into the library, all at once; their paths in it."""
        making = self.gates.parent / "making"
        making.mkdir()
        t = np.arange(44_100) / 44_100
        for name in names:
            self._semitone += 1
            sound = 0.3 * np.sin(2 * np.pi * 110 * 2 ** (self._semitone / 12) * t)
            soundfile.write(making / f"{name}.wav", sound, 44_100)
        folder = self.workplace.library / f"drop-{self._semitone}"
        making.rename(folder)
        return {f"{folder.name}/{name}.wav" for name in names}

    # --- what there is

    def wait(self, what: Callable[[], object], why: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not what():
            if time.monotonic() > deadline or self.is_hopeless():
                pytest.fail(f"waited in vain for: {why}\n{self.account()}")
            time.sleep(0.5)

    def is_hopeless(self) -> bool:
        """Whether there is nothing to wait for, as the code does not load.

        Later Dagster may well fail to load it once, as when the clock jumps meanwhile; it tries anew.
        """
        return self.told("Error loading repository location") and not self.told("Checking for new runs")

    def told(self, words: str) -> bool:
        """Whether the daemon's log says so."""
        return words in self.log.read_text()

    def account(self) -> str:
        runs = [f"{run.job_name} {run.status.value} {run.tags}" for run in self.instance.get_runs()]
        return "\n".join([*runs, self.log.read_text()[-6000:] if self.log.exists() else ""])

    def runs(self, job: str | None = None, *, since: set[str] = frozenset()) -> list[dg.DagsterRun]:
        """Runs of a job, or without one those of batches; oldest first, as the UI lists them."""
        runs = [run for run in reversed(self.instance.get_runs()) if run.run_id not in since]
        return [run for run in runs if (run.job_name == job if job else "dagster/partition" in run.tags)]

    def ticks_after(self, moment_s: float) -> list[InstigatorTick]:
        """Ticks of sensors and schedules that are recorded as later than a moment."""
        states = self.instance.all_instigator_state()
        found = (
            self.instance.get_ticks(s.instigator_origin_id, s.selector_id, after=moment_s) for s in states
        )
        return [tick for ticks in found for tick in ticks]

    def run_ids(self) -> set[str]:
        return {run.run_id for run in self.instance.get_runs()}

    def at_rest(self) -> bool:
        """Whether nothing runs, and the tables that are published are of all that was analysed."""
        query = "SELECT count(*) FROM audio_features SEMI JOIN clap_embeddings USING (song_id)"
        with connect_live(self.record) as live:
            analysed = live.execute(query).fetchone()
        return self.idle() and len(self.published()) == analysed[0]

    def idle(self) -> bool:
        return all(run.is_finished for run in self.instance.get_runs())

    def have_tables(self) -> set[str]:
        """See to it that something is published; the paths of its tracks."""
        if not self.published():
            paths = self.drop("first", "second")
            self.wait(lambda: paths <= self.published(), "first tables")
        self.wait(self.at_rest, "rest")
        return self.published()

    def analysed(self, paths: set[str]) -> bool:
        """Whether a drop's tracks have rows in both tables, and no batch is being worked on."""
        ledger = self.record.read("track_manifest")
        ids = (
            {}
            if ledger is None
            else dict(zip(*(ledger[n].to_pylist() for n in ("file_path", "song_id")), strict=True))
        )
        rows = set(self.finished("audio_features")) & set(self.finished("clap_embeddings"))
        return all(ids.get(path) in rows for path in paths) and all(run.is_finished for run in self.runs())

    def published(self) -> set[str]:
        """Paths of the tracks that readers find with features and in the index."""
        link = self.data / "warehouse.duckdb"
        if not link.exists():
            return set()
        query = (
            "SELECT audio_path FROM manifest "
            "SEMI JOIN audio_features USING (song_id) SEMI JOIN retrieval_index USING (song_id)"
        )
        with duckdb.connect(str(link.resolve()), read_only=True) as connection:
            return {row[0] for row in connection.execute(query).fetchall()}

    def finished(self, table: str = "audio_features") -> dict[str, object]:
        """When each row of a table was computed, those in journals of unfinished batches included."""
        folders = list((self.record.root / table).glob("batch=*"))
        tables = [Journal(folder, arrow_schema(table)).rows() for folder in folders]
        tables += [
            pq.read_table(path, schema=arrow_schema(table))
            for folder in folders
            if (path := folder / "part.parquet").exists()
        ]
        rows = pa.concat_tables([arrow_schema(table).empty_table(), *tables])
        return dict(zip(rows["song_id"].to_pylist(), rows["computed_at"].to_pylist(), strict=True))

    def cli(self, *arguments: str, data: Path | None = None) -> tuple[int, str]:
        """Exit code and words of a command over the site's data folder, or over another one."""
        command = [sys.executable, "-m", "audio_assets", *arguments, "--data", str(data or self.data)]
        done = subprocess.run(
            command,
            cwd=TESTS.parent,
            capture_output=True,
            text=True,
            env={**os.environ, **QUICK},
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def status(self) -> str:
        """What ``audio-assets status`` says."""
        code, words = self.cli("status")
        assert code == 0, words
        return words

    def assert_whole(self) -> None:
        """No torn file, no duplicate row, nothing of a writer that has gone but what a sweep takes."""
        for path in self.record.root.rglob("*.parquet"):
            with unless_superseded(path):
                pq.read_table(path, partitioning=None)
        for table in ("audio_features", "clap_embeddings"):
            paths = (self.record.root / table).glob("batch=*/part.parquet")
            counts = Counter(
                song_id for path in paths for song_id in pq.ParquetFile(path).read()["song_id"].to_pylist()
            )
            assert set(counts.values()) <= {1}, f"duplicates in {table}"
        for path in self.data.glob("warehouse-*.duckdb"):
            with unless_superseded(path), duckdb.connect(str(path), read_only=True) as connection:
                for (name,) in connection.execute("SHOW TABLES").fetchall():
                    connection.execute(f"SELECT * FROM {name}").fetchall()


@contextmanager
def unless_superseded(path: Path) -> Iterator[None]:
    """Pass over a file that a rebuild, which may be going on, has taken away meanwhile."""
    try:
        yield
    except (FileNotFoundError, duckdb.IOException):
        if path.exists():
            raise


@contextmanager
def running(folder: Path, checkpoint: Path, **environment: str) -> Iterator[Site]:
    (folder / "music").mkdir()
    (folder / "data").mkdir(exist_ok=True)
    site = Site(Workplace(folder / "music", folder / "data", str(checkpoint)))
    site.start(**environment)
    try:
        yield site
    finally:
        site.stop()
        site.instance.dispose()


def statuses(runs: list[dg.DagsterRun]) -> list[dg.DagsterRunStatus]:
    return [run.status for run in runs]


def is_retry(run: dg.DagsterRun, failed: dg.DagsterRun) -> bool:
    """Whether the UI shows a run as one of another."""
    return run.tags.get("dagster/parent_run_id") == failed.run_id


def kept(site: Site, finished: dict[str, object], table: str = "audio_features") -> bool:
    """Whether rows that were there are still the same ones."""
    made = site.finished(table)
    return {song_id: made[song_id] for song_id in finished} == finished


def caught_in_mid_batch(site: Site) -> tuple[set[str], int, dict[str, object]]:
    """Drop tracks and catch the run of their batch; their paths, its process, the rows it has finished."""
    site.shut("batch")
    paths = site.drop("a", "b", "c")
    (worker,) = site.held("batch")
    finished = site.finished()
    assert finished
    assert not site.analysed(paths)
    return paths, worker, finished
