"""Whatever breaks under a daemon that runs: it goes on by itself, nothing is lost, and it can be seen.

After each blow the same is asked. Every Parquet and DuckDB file opens, no row is there twice, tracks that
were finished have not been computed again, each of Dagster's run records (which the UI lists) has ended as it
should, and ``audio-assets status`` answers.

What is shown elsewhere:

- all processes of a ``run`` in a terminal killed, a torn journal, an interrupt: ``test_crash``;
- a kill at each step of writing a batch, publishing, rolling back and sweeping; a disk that is full or
  read-only at each of them; a clock that goes back between two publications: ``test_storage``;
- a full disk met by a ``run`` in a terminal: ``test_maintenance``;
- each way a worker process can die: ``test_audio_pool``;
- a disk that fills up and a clock that jumps, under a daemon: ``test_recovery_machine``.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dagster._core.execution.backfill import BulkActionStatus
from recovery_site import (
    FAILURE,
    STARTED,
    SUCCESS,
    Site,
    caught_in_mid_batch,
    is_retry,
    kept,
    running,
    statuses,
)
from test_storage import mount

from audio_assets.attempts import Attempts
from audio_assets.automation.backfills import launch
from audio_assets.outstanding import Work
from audio_assets.warehouse import connect_live
from resources.warehouse import Warehouse

__all__ = ["mount"]  # a fixture


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, clap_checkpoint: Path) -> Iterator[Site]:
    """One site for all: each test drops tracks of its own, and leaves it at rest, with a daemon."""
    with running(tmp_path_factory.mktemp("site"), clap_checkpoint) as site:
        yield site


# --- processes that are killed ----------------------------------------------------------------------


def test_a_killed_run_is_failed_and_tried_again(site: Site) -> None:
    before = site.run_ids()
    paths, worker, finished = caught_in_mid_batch(site)
    site.kill(worker)
    site.open("batch")
    site.wait(lambda: site.analysed(paths), "the batch")
    killed, again = site.runs(since=before)
    assert (killed.status, again.status) == (FAILURE, SUCCESS)
    assert is_retry(again, killed)
    assert kept(site, finished)
    site.assert_whole()


def test_a_retry_that_dagster_forgets_is_made_all_the_same(site: Site) -> None:
    before = site.run_ids()
    site.shut("forget")
    paths, worker, finished = caught_in_mid_batch(site)
    site.kill(worker)
    site.open("batch")
    site.wait(lambda: site.analysed(paths) and not (site.gates / "forget").exists(), "the batch")
    killed, again = site.runs(since=before)
    assert (killed.status, again.status) == (FAILURE, SUCCESS)
    assert is_retry(again, killed)
    assert kept(site, finished)


def test_a_retry_that_dagster_refuses_as_it_has_ended_the_backfill_is_made_all_the_same(site: Site) -> None:
    before = site.run_ids()
    site.shut("forget")
    paths, worker, finished = caught_in_mid_batch(site)
    (caught,) = site.runs(since=before)
    site.kill(worker)
    site.wait(lambda: not (site.gates / "forget").exists(), "the look at the failure")
    backfill = site.instance.get_backfill(caught.tags["dagster/backfill"])
    site.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_FAILED))
    site.open("batch")
    site.wait(lambda: site.analysed(paths), "the batch")
    killed, again = site.runs(since=before)
    assert (killed.status, again.status) == (FAILURE, SUCCESS)
    assert is_retry(again, killed)
    assert "dagster/backfill" not in again.tags
    assert kept(site, finished)


def test_the_run_of_a_killed_daemon_ends_well_and_the_next_daemon_takes_over(site: Site) -> None:
    before = site.run_ids()
    paths, _, finished = caught_in_mid_batch(site)
    left = set(site.processes()) - {site.daemon.pid}
    site.kill(site.daemon.pid)
    site.start()
    site.wait(lambda: site.daemon_ticks(), "the new one")
    assert statuses(site.runs(since=before)) == [STARTED], "a run that goes on was taken for lost"
    site.open("batch")
    site.wait(lambda: site.analysed(paths), "the batch")
    assert statuses(site.runs(since=before)) == [SUCCESS]
    assert kept(site, finished)
    site.assert_whole()
    site.wait(lambda: not left & set(site.processes()), "the end of what the killed one left behind")


def test_after_all_processes_were_killed_at_once_the_next_daemon_goes_on(site: Site) -> None:
    before = site.run_ids()
    paths, _, finished = caught_in_mid_batch(site)
    site.kill(*site.processes())
    assert statuses(site.runs(since=before)) == [STARTED], "nobody was left to say otherwise"
    pending = next(line for line in site.status().splitlines() if line.startswith("clap_embeddings  3"))
    assert "done" not in pending
    site.open("batch")
    site.start()
    site.wait(lambda: site.analysed(paths), "the batch")
    assert statuses(site.runs(since=before)) == [FAILURE, SUCCESS]
    assert kept(site, finished)
    site.assert_whole()


def test_the_process_that_evaluates_the_sensors_stays_and_is_replaced_once_it_is_killed(site: Site) -> None:
    site.wait(lambda: len(site.code_servers()) == 1, "the end of those of killed daemons")
    (server,) = site.code_servers()
    time.sleep(20)  # four times as long as it takes the daemon to look at it
    assert site.code_servers() == [server], "starting one takes seconds of a core"
    site.kill(server)
    paths = site.drop("after", "it")
    site.wait(lambda: site.analysed(paths), "the batch")
    assert server not in site.code_servers()
    assert site.daemon.poll() is None


def test_a_daemon_that_was_frozen_gets_a_code_server_that_takes_runs(site: Site) -> None:
    """While it runs a batch, the former one answers, but has been told to end by the daemon's silence."""
    paths, _, finished = caught_in_mid_batch(site)
    former = site.code_servers()
    os.kill(site.daemon.pid, signal.SIGSTOP)
    time.sleep(25)
    os.kill(site.daemon.pid, signal.SIGCONT)
    site.wait(lambda: set(site.code_servers()) - set(former), "another one")
    site.open("batch")
    site.wait(lambda: site.analysed(paths), "the batch")
    assert kept(site, finished)
    more = site.drop("more")
    site.wait(lambda: site.analysed(more), "a batch after it")


# --- two at once, and tracks that take down who reads them ------------------------------------------


def test_two_backfills_of_one_batch_at_once(site: Site) -> None:
    """With pools that let them: by default the second waits for the first."""
    before = site.run_ids()
    for pool in ("cpu", "clap"):
        site.instance.event_log_storage.set_concurrency_slots(pool, 2)
    paths, _, finished = caught_in_mid_batch(site)
    tracks = [track for track in Warehouse(data_dir=str(site.data)).live_tracks() if track.file_path in paths]
    work = [
        Work(table, str(tracks[0].batch), tracks, None, "") for table in ("audio_features", "clap_embeddings")
    ]
    options = {"title": "By hand", "launched_by": "a test"}
    launch(site.instance, work, Attempts(site.data, 9), backfill_id="by-hand", **options)
    site.held("batch", 2)
    site.open("batch")
    site.wait(lambda: site.analysed(paths), "both are through")
    runs = site.runs(since=before)
    assert statuses(runs) == [SUCCESS, SUCCESS]
    assert len({run.tags["dagster/backfill"] for run in runs}) == 2
    assert kept(site, finished)
    for pool in ("cpu", "clap"):
        site.instance.event_log_storage.set_concurrency_slots(pool, 1)
    site.assert_whole()


def test_tracks_that_take_down_their_reader_cost_themselves_and_are_named(site: Site) -> None:
    before = site.run_ids()
    paths = site.drop("hangs", "devours", "killed", "good")
    site.wait(lambda: site.analysed(paths), "the batch")
    runs = site.runs(since=before)
    assert set(statuses(runs)) == {SUCCESS}
    # Of this batch: those of the test before may have left the checks of theirs to be made again.
    batches = {t.batch for t in Warehouse(data_dir=str(site.data)).live_tracks() if t.file_path in paths}
    tables = [key for run in runs if run.tags["dagster/partition"] in batches for key in run.asset_selection]
    assert sorted(key.to_user_string() for key in tables) == ["audio_features", "clap_embeddings"]
    codes = {"hangs": "timed_out", "devours": "out_of_memory", "killed": "worker_died"}
    with connect_live(site.record) as live:
        found = live.execute("SELECT code, count(*) FROM track_failures GROUP BY ALL").fetchall()
    assert dict(found) == dict.fromkeys(codes.values(), 2), "once by each table"
    said = site.status()
    assert all(code in said for code in codes.values())
    site.assert_whole()


# --- while all tables are made, and swept -----------------------------------------------------------


def test_killed_in_mid_publication_readers_keep_their_tables_and_get_the_new_ones(site: Site) -> None:
    paths, before = site.have_tables(), site.run_ids()
    old = (site.data / "warehouse.duckdb").readlink()
    site.shut("publication")
    site.launch("rebuild_tables")
    (worker,) = site.held("publication")
    site.kill(worker)
    assert (site.data / "warehouse.duckdb").readlink() == old
    assert site.published() == paths
    site.open("publication")
    site.wait(lambda: SUCCESS in statuses(site.runs("rebuild_tables", since=before)), "the retry")
    site.wait(site.idle, "what else runs")
    killed, again = site.runs("rebuild_tables", since=before)[:2]
    assert (killed.status, again.status) == (FAILURE, SUCCESS)
    assert (site.data / "warehouse.duckdb").readlink() != old
    assert site.published() == paths
    site.assert_whole()


def test_a_maintenance_that_is_killed_in_mid_sweep_is_done_again(site: Site) -> None:
    paths, before = site.have_tables(), site.run_ids()
    site.shut("sweep")
    site.launch("maintenance")
    (worker,) = site.held("sweep")
    site.kill(worker)
    site.open("sweep")
    site.wait(lambda: SUCCESS in statuses(site.runs("maintenance", since=before)), "the retry")
    assert statuses(site.runs("maintenance", since=before)) == [FAILURE, SUCCESS]
    assert site.published() == paths
    site.wait(site.idle, "what else runs")
    assert not list(site.data.rglob(".tmp-*"))
    site.assert_whole()


# --- a disk that refuses ------------------------------------------------------------------------------


def test_a_read_only_data_folder_is_answered_in_a_sentence_and_can_be_read(
    site: Site, mount: Callable[[str], Path]
) -> None:
    paths = site.have_tables()
    data = mount("size=300m") / "data"
    with suppress(shutil.Error):  # raised at the end, of what the daemon's databases removed meanwhile
        shutil.copytree(site.data, data, symlinks=True)
    mount("ro")
    run = ("run", "--library", str(site.workplace.library), "--clap-model", site.workplace.model)
    for command in (run, ("status",)):
        code, said = site.cli(*command, data=data)
        assert code == 1
        assert "Mount it read-write" in said
        assert "Traceback" not in said
    assert "retrieval_index" in said, "status says what it can"
    code, said = site.cli("sql", "SELECT count(*) AS n FROM retrieval_index", "--format", "csv", data=data)
    assert (code, said.split()) == (0, ["n", str(len(paths))])
    mount("rw")
    assert site.cli("status", data=data)[0] == 0
