"""A site of the recovery tests whose runs are executed by workers, with PostgreSQL and Redis between them."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from conftest import Workplace
from recovery_site import TESTS, WAIT_S, Site

from tools.database_servers import Postgres, Redis, postgres, redis

#: All queues that there are.
QUEUES = "cpu,clap,dagster"


class Worker:
    """A worker and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def told(self, words: str) -> bool:
        return words in self._log.read_text()

    @property
    def executor(self) -> int:
        """Process id of the child that executes the runs."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


class DistributedSite(Site):
    """What a test sees and does."""

    LOCATION = "distributed_location"

    def __init__(self, workplace: Workplace, database: Postgres, broker: Redis) -> None:
        home = workplace.data / "dagster"
        home.mkdir()
        shutil.copy(TESTS.parent / "deploy" / "celery" / "dagster.yaml", home)
        super().__init__(workplace)
        self.database = database
        self.broker = broker
        self.workers: list[Worker] = []

    def environment(self) -> dict[str, str]:
        # Dagster forgets a retry now and then (1.13.27); the scheduled backfill makes up for it.
        return {
            **super().environment(),
            "AUDIO_ASSETS_BACKFILL_CRON": "* * * * *",
            "AUDIO_ASSETS_MOST_ATTEMPTS": "3",
        }

    def start_worker(
        self,
        name: str,
        queues: str = QUEUES,
        app: str = "audio_assets.distributed.worker",
        **environment: str,
    ) -> Worker:
        """Start a worker with the command of the documentation."""
        options = ["--concurrency", "1", "--queues", queues, "--hostname", f"{name}@%h", "--loglevel", "INFO"]
        command = [sys.executable, "-m", "celery", "--app", app, "worker", *options]
        log = self.gates.parent / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env={**self.environment(), **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        worker = Worker(process, log)
        self.wait(lambda: worker.told(" ready.") or process.poll() is not None, f"worker {name}")
        assert process.poll() is None, log.read_text()
        self.workers.append(worker)
        return worker

    def stop_worker(self, worker: Worker) -> None:
        """End a worker as a service manager does: it finishes what it is at."""
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait(WAIT_S)
        self.workers.remove(worker)

    def kill_worker(self, worker: Worker) -> None:
        """Kill -9."""
        worker.process.kill()
        worker.process.wait()
        self.workers.remove(worker)

    def is_hopeless(self) -> bool:
        """Never: without its database nothing loads, until there is one again."""
        return False

    def told_times(self, words: str) -> int:
        """How often the daemon's log says so."""
        return self.log.read_text().count(words)

    def failures(self, before: set[str]) -> list[str]:
        """Why runs have failed, as the UI says."""
        records = [
            record
            for run in self.runs(since=before)
            for record in self.instance.get_records_for_run(
                run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE
            ).records
        ]
        return [str(record.event_log_entry.dagster_event.message) for record in records]

    def loads(self) -> list[int]:
        """Process ids of who loaded the model, each as often as it did."""
        path = self.gates.parent / "loads"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def executors(self, runs: list[dg.DagsterRun]) -> set[int]:
        """Process ids of who executed runs, as their logs say."""
        events = [
            record.event_log_entry.dagster_event
            for run in runs
            for record in self.instance.get_records_for_run(
                run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT
            ).records
        ]
        metadata = [event.engine_event_data.metadata for event in events if event]
        return {int(str(entries["pid"].value)) for entries in metadata if "pid" in entries}


@contextmanager
def distributed_site(folder: Path, checkpoint: Path) -> Iterator[DistributedSite]:
    """Servers and a daemon; workers are up to the test."""
    (folder / "music").mkdir()
    (folder / "data").mkdir()
    with postgres() as database, redis() as broker, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_ASSETS_DATABASE_URL", database.url)
        patch.setenv("AUDIO_ASSETS_BROKER_URL", broker.url)
        site = DistributedSite(
            Workplace(folder / "music", folder / "data", str(checkpoint)), database, broker
        )
        site.start()
        try:
            yield site
        finally:
            for worker in list(site.workers):
                site.kill_worker(worker)
            site.stop()
            site.instance.dispose()
