"""Workers that share a library: nothing is lost, computed twice or mixed, whatever happens to them.

With PostgreSQL, Redis, Dagster's daemon and Celery's workers, each a process of its own. Batches are of three
tracks; the features of a batch are one run, its embeddings another.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from distributed_site import DistributedSite, distributed_site
from object_store import BUCKET, ObjectStoreServer, needs_object_store
from programs import needs
from recovery_site import WAIT_S, kept

from audio_assets.distributed.launcher import QueueRunLauncher
from tools.database_servers import MISSING

pytestmark = needs(MISSING)

CANCELED, FAILURE, STARTED, SUCCESS = (
    dg.DagsterRunStatus.CANCELED,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.SUCCESS,
)
TABLES = ("audio_features", "clap_embeddings")
QUEUE = "dagster-celery/queue"
NO_LOST_RUN = "No run is without its process"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, clap_checkpoint: Path) -> Iterator[DistributedSite]:
    """One site for all, with two workers that take whatever comes; each test leaves it so."""
    with distributed_site(tmp_path_factory.mktemp("distributed"), clap_checkpoint) as site:
        for name in ("first", "second"):
            site.start_worker(name)
        yield site


def names(prefix: str, n_batches: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(3 * n_batches)]


def caught_in_mid_batch(
    site: DistributedSite, n_batches: int
) -> tuple[set[str], dict[str, dict[str, object]]]:
    """Drop tracks and catch both workers over a batch of them; their paths, and the finished rows."""
    site.shut("batch")
    paths = site.drop(*names("track", n_batches))
    site.held("batch", 2)
    return paths, {table: site.finished(table) for table in TABLES}


def assert_nothing_lost(
    site: DistributedSite, paths: set[str], finished: dict[str, dict[str, object]]
) -> None:
    """Open the gate: all is analysed, rows that were there are still the same ones, and no file is torn."""
    site.open("batch")
    site.wait(lambda: site.analysed(paths), "the batches")
    assert all(kept(site, rows, table) for table, rows in finished.items())
    site.assert_whole()


def test_two_workers_and_then_four_share_a_backfill_and_each_loads_the_model_once(
    site: DistributedSite,
) -> None:
    two = list(site.workers)
    site.shut("load")
    paths = site.drop(*names("track", 4))
    assert set(site.held("load", 2)) == {worker.executor for worker in two}
    site.open("load")
    site.wait(lambda: site.analysed(paths), "the batches")
    runs = site.runs()
    assert len(runs) == 8
    assert site.executors(runs) == {worker.executor for worker in two}
    assert sorted(site.loads()) == sorted(worker.executor for worker in two)
    queues = {(*(key.to_user_string() for key in run.asset_selection), run.tags[QUEUE]) for run in runs}
    assert queues == {("audio_features", "cpu"), ("clap_embeddings", "clap")}

    more = [site.start_worker(name, "clap") for name in ("third", "fourth")]
    site.shut("load")
    paths, finished = caught_in_mid_batch(site, 4)
    assert set(site.held("load", 2)) == {worker.executor for worker in more}
    site.open("load")
    assert_nothing_lost(site, paths, finished)
    assert sorted(site.loads()) == sorted(worker.executor for worker in two + more)
    assert {run.status for run in site.runs()} == {SUCCESS}
    for worker in more:
        site.stop_worker(worker)


def test_workers_that_are_killed_lose_nothing(site: DistributedSite) -> None:
    """One with all its processes, as when its machine goes; of the other only the one that executes runs."""
    before = site.run_ids()
    paths, finished = caught_in_mid_batch(site, 1)
    ticks = site.told_times(NO_LOST_RUN)
    site.wait(lambda: site.told_times(NO_LOST_RUN) > ticks + 1, "looks for runs that nobody executes")
    assert [run.status for run in site.runs(since=before)] == [STARTED, STARTED]
    whole, part = site.workers
    executor = whole.executor
    os.kill(part.executor, signal.SIGKILL)
    site.kill_worker(whole)
    site.wait(lambda: not Path(f"/proc/{executor}").exists(), "the end of the killed worker's process")
    site.start_worker("another")
    assert_nothing_lost(site, paths, finished)
    runs = site.runs(since=before)
    assert [run.status for run in runs[:2]] == [FAILURE, FAILURE]
    assert {run.status for run in runs[2:]} == {SUCCESS}


def test_a_worker_that_is_to_end_and_a_broker_that_forgets_all_cost_no_run(site: DistributedSite) -> None:
    """For longer than the monitor would wait for a worker that it hears nothing of."""
    before = site.run_ids()
    paths, finished = caught_in_mid_batch(site, 1)
    site.broker.stop()
    known = site.run_ids()
    paths |= site.drop(*names("more", 1))
    site.wait(lambda: site.runs("refresh_manifest", since=known), "a run while the broker is away")
    site.broker.start()
    ending = site.workers[0]
    ending.process.terminate()
    until_s = time.monotonic() + 80
    site.wait(lambda: time.monotonic() > until_s, "looks for runs that nobody executes")
    assert [run.status for run in site.runs(since=before)[:2]] == [STARTED, STARTED]
    site.open("batch")
    assert ending.process.wait(WAIT_S) == 0
    site.workers.remove(ending)
    site.start_worker("successor")
    assert_nothing_lost(site, paths, finished)
    assert {run.status for run in site.runs(since=before)} == {SUCCESS}


def test_a_run_that_is_cancelled_is_not_tried_again(site: DistributedSite) -> None:
    before = site.run_ids()
    paths, finished = caught_in_mid_batch(site, 1)
    cancelled = site.runs(since=before)[0]
    assert site.instance.run_coordinator.cancel_run(cancelled.run_id)
    site.wait(lambda: site.instance.get_run_by_id(cancelled.run_id).is_finished, "its end")
    assert_nothing_lost(site, paths, finished)
    first, second, *later = site.runs(since=before)
    assert (first.status, second.status) == (CANCELED, SUCCESS)
    assert {run.status for run in later} == {SUCCESS}
    assert all(run.parent_run_id is None for run in later)


def test_a_database_that_goes_away_in_mid_backfill_and_returns(site: DistributedSite) -> None:
    before = site.run_ids()
    paths, finished = caught_in_mid_batch(site, 2)
    site.database.stop()
    site.open("batch")
    site.wait(
        lambda: any(worker.told("retry: Retry in") for worker in site.workers),
        "a run that cannot be recorded",
    )
    site.database.start()
    assert_nothing_lost(site, paths, finished)
    # A run that was not recorded ends so; or Dagster gives up its backfill for the outage, and cancels it.
    assert {FAILURE, CANCELED} & {run.status for run in site.runs(since=before)}


def test_workers_of_other_versions_refuse_runs_and_end_themselves(site: DistributedSite) -> None:
    before = site.run_ids()
    older = site.start_worker("older", "cpu", "older_worker")
    differing = site.start_worker("differing", "clap", AUDIO_ASSETS_CLAP_WINDOWS="1")
    paths, finished = caught_in_mid_batch(site, 3)
    for worker in (older, differing):
        site.wait(lambda: worker.process.poll() is not None, "the end of a worker")  # noqa: B023
        site.workers.remove(worker)
    assert_nothing_lost(site, paths, finished)
    refusals = [message for message in site.failures(before) if "WorkerVersionError" in message]
    assert any("audio_features of version older, not" in message for message in refusals)
    assert any("clap_embeddings of version" in message for message in refusals)
    assert all("start anew what is behind" in message for message in refusals)
    for table, version in (("audio_features", "extractor_version"), ("clap_embeddings", "settings_version")):
        rows = [site.record.read(table, batch) for batch in site.record.batches(table)]
        assert len({made_by for part in rows for made_by in part[version].to_pylist()}) == 1, table


@needs_object_store
def test_machines_with_folders_of_their_own_share_a_record_on_an_object_store(
    tmp_path: Path, clap_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine has the daemon and publishes; the other one analyses. Only the configuration differs."""
    store = ObjectStoreServer(tmp_path / "store")
    elsewhere = tmp_path / "elsewhere"
    store.start()
    try:
        for name, value in store.variables().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AUDIO_ASSETS_RECORD_STORE", f"s3://{BUCKET}/library")
        (tmp_path / "here").mkdir()
        with distributed_site(tmp_path / "here", clap_checkpoint) as site:
            shutil.copytree(site.data / "dagster", elsewhere / "dagster")
            folders = {"AUDIO_ASSETS_DATA": str(elsewhere), "DAGSTER_HOME": str(elsewhere / "dagster")}
            site.start_worker("here", "dagster")
            there = site.start_worker("there", "cpu,clap", **folders)
            paths = site.drop(*names("track", 2))
            site.wait(lambda: paths <= site.published(), "tables of all tracks")
            batches = [run for run in site.runs() if run.status == SUCCESS]
            assert site.executors(batches) == {there.executor}
            assert len(batches) == 4
            site.assert_whole()
            site.stop_worker(there)
    finally:
        store.stop()


def test_a_run_that_a_command_executes_is_not_looked_for_among_the_workers() -> None:
    launcher = QueueRunLauncher(queues={}, default_queue="dagster", broker="redis://127.0.0.1:1/0")
    health = launcher.check_run_worker_health(dg.DagsterRun(job_name="analyse_batch"))
    assert health.status.value == "RUNNING"
