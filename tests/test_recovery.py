"""Whatever is broken under a daemon that runs, it goes on by itself and nothing is lost."""

import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
from conftest import Workplace
from programs import needs
from recovery_site import Site
from test_storage import mount

from audio_assets.attempts import Attempts
from audio_assets.automation.backfills import launch
from audio_assets.outstanding import outstanding_as_recorded
from resources.warehouse import Warehouse

__all__ = ["mount"]  # a fixture

FAILURE, SUCCESS = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, clap_checkpoint: Path) -> Iterator[Site]:
    """One daemon for all: each test drops tracks of its own, and leaves the site at rest."""
    with running(tmp_path_factory.mktemp("site"), clap_checkpoint) as site:
        yield site


def statuses(runs: list[dg.DagsterRun]) -> list[dg.DagsterRunStatus]:
    return [run.status for run in runs]


def test_a_killed_run_is_failed_and_tried_again_and_keeps_what_it_had(site: Site) -> None:
    before = site.run_ids()
    site.shut("batch")
    paths = site.drop("a", "b", "c", "d")
    (worker,) = site.held("batch")
    finished = site.finished()
    assert len(finished) >= 2
    site.kill(worker)
    site.open("batch")
    site.wait(lambda: paths <= site.published() and site.idle(), "the batch is published")
    killed, again = site.runs(since=before)
    assert (killed.status, again.status) == (FAILURE, SUCCESS)
    assert again.parent_run_id == killed.run_id
    made = site.finished()
    assert {song_id: made[song_id] for song_id in finished} == finished
    site.assert_whole()


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
    site.wait(lambda: statuses(site.runs("rebuild_tables", since=before)) == [FAILURE, SUCCESS], "the retry")
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
    site.wait(lambda: statuses(site.runs("maintenance", since=before)) == [FAILURE, SUCCESS], "the retry")
    assert site.published() == paths
    assert not list(site.data.rglob(".tmp-*"))
    site.assert_whole()


def test_two_backfills_of_one_batch_at_once(site: Site) -> None:
    """With pools that let them: by default the second waits for the first."""
    before = site.run_ids()
    for pool in ("cpu", "clap"):
        site.instance.event_log_storage.set_concurrency_slots(pool, 2)
    site.shut("batch")
    paths = site.drop("a", "b", "c")
    site.held("batch")
    warehouse = Warehouse(data_dir=str(site.data))
    newest = max(warehouse.live_tracks(), key=lambda track: track.batch).batch
    work = [work for work in outstanding_as_recorded(warehouse).work if work.batch == newest]
    options = {"title": "By hand", "launched_by": "a test"}
    launch(site.instance, work, Attempts(site.data, 9), backfill_id="by-hand", **options)
    site.held("batch", 2)
    site.open("batch")
    site.wait(lambda: paths <= site.published() and site.idle(), "both are through")
    assert statuses(site.runs(since=before)) == [SUCCESS, SUCCESS]
    assert len({run.tags["dagster/backfill"] for run in site.runs(since=before)}) == 2
    for pool in ("cpu", "clap"):
        site.instance.event_log_storage.set_concurrency_slots(pool, 1)
    site.assert_whole()


def test_tracks_that_take_down_their_reader_cost_themselves_and_are_named(site: Site) -> None:
    before = site.run_ids()
    paths = site.drop("hangs", "devours", "killed", "good")
    good = {path for path in paths if path.endswith("good.wav")}
    site.wait(lambda: good <= site.published() and site.idle(), "the good one")
    assert statuses(site.runs(since=before)) == [SUCCESS]
    site.assert_whole()
    print(site.status())
    failures = site.workplace.sql("SELECT audio_path, stage, code FROM track_failures ORDER BY ALL")
    print(failures)


def test_a_killed_daemon(site: Site) -> None:
    before = site.run_ids()
    site.shut("batch")
    paths = site.drop("a", "b", "c", "d")
    site.held("batch")
    orphans = set(site.processes()) - {site.daemon.pid}
    site.kill(site.daemon.pid)
    site.start()
    print("orphans", len(orphans))
    site.wait(lambda: len(set(site.processes()) - orphans) >= 2, "the new one")
    site.open("batch")
    site.wait(lambda: paths <= site.published() and site.idle(), "the rest")
    print([(run.status, run.tags) for run in site.runs(since=before)])
    site.wait(lambda: not orphans & set(site.processes()), "orphans end")
    site.assert_whole()


def test_a_killed_code_server(site: Site) -> None:
    before = site.run_ids()
    site.shut("batch")
    paths = site.drop("a", "b", "c", "d")
    (worker,) = site.held("batch")
    finished = site.finished()
    server = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    print(Path(f"/proc/{server}/cmdline").read_text().replace("\0", " "))
    site.kill(server)
    import time
    time.sleep(15)
    print("then", statuses(site.runs(since=before)))
    site.open("batch")
    site.wait(lambda: paths <= site.published() and site.idle(), "the rest")
    print([(run.status, run.tags) for run in site.runs(since=before)])
    made = site.finished()
    print({song_id: made[song_id] for song_id in finished} == finished)
    site.assert_whole()


def test_everything_killed(site: Site) -> None:
    before = site.run_ids()
    site.shut("batch")
    paths = site.drop("a", "b", "c", "d")
    site.held("batch")
    finished = site.finished()
    site.kill(*site.processes())
    (killed,) = site.runs(since=before)
    assert killed.status == dg.DagsterRunStatus.STARTED
    print(site.status())
    site.open("batch")
    site.start()
    site.wait(lambda: paths <= site.published() and site.idle(), "the rest")
    print([(run.status, run.tags) for run in site.runs(since=before)])
    made = site.finished()
    assert {song_id: made[song_id] for song_id in finished} == finished
    site.assert_whole()


class WallClock:
    """A wall clock for the processes that are started with its environment."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self.jump(0)
        library = folder / "wall_clock.so"
        source = Path(__file__).parent / "recovery" / "wall_clock.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O", "-o", library, source], check=True)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET": str(self._offset)}

    def jump(self, days: float) -> None:
        """Set the clock so many days from the true time."""
        with self._offset.open("ab") as file:
            file.truncate(8)
        with self._offset.open("r+b") as file:
            file.write(struct.pack("q", int(days * 86_400)))


@needs(None if shutil.which("cc") else "there is no C compiler")
def test_a_clock_that_jumps(tmp_path: Path, clap_checkpoint: Path) -> None:
    clock = WallClock(tmp_path)
    with running(tmp_path, clap_checkpoint, **clock.environment) as site:
        site.shut("batch")
        paths = site.drop("a", "b", "c")
        site.held("batch")
        finished = site.finished()
        clock.jump(days=3)
        time.sleep(10)
        print(site.account()[:3000])
        site.open("batch")
        site.wait(lambda: paths <= site.published() and site.idle(), "after the jump ahead")
        print(datetime.now(), "ahead is through")
        made = site.finished()
        assert {song_id: made[song_id] for song_id in finished} == finished
        clock.jump(days=0)
        print(site.status())
        paths = site.drop("d")
        site.wait(lambda: paths <= site.published() and site.idle(), "after the jump back")
        print(datetime.now(), "back is through")
        print(site.account()[:3000])
        made = site.finished()
        assert {song_id: made[song_id] for song_id in finished} == finished
        site.assert_whole()


def test_a_disk_that_fills_up_under_the_daemon(
    tmp_path: Path, clap_checkpoint: Path, mount: Callable[[str], Path]
) -> None:
    disk = mount("size=300m")
    (tmp_path / "data").symlink_to(disk)
    with running(tmp_path, clap_checkpoint, AUDIO_ASSETS_MOST_ATTEMPTS="3") as site:
        site.shut("batch")
        paths = site.drop("a", "b", "c", "d")
        (worker,) = site.held("batch")
        finished = site.finished()
        with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        site.open("batch")
        site.wait(lambda: not Path(f"/proc/{worker}").exists(), "the run has ended")
        print(site.account()[:3000])
        print(site.status())
        (disk / "ballast").unlink()
        time.sleep(10)
        print(site.account()[:3000])
        print(site.cli("backfill", "--clap-model", site.workplace.model))
        site.wait(lambda: paths <= site.published() and site.idle(), "what was left")
        made = site.finished()
        assert {song_id: made[song_id] for song_id in finished} == finished
        site.assert_whole()


def test_a_read_only_data_folder(site: Site, mount: Callable[[str], Path]) -> None:
    paths = site.have_tables()
    disk = mount("size=300m")
    shutil.copytree(site.data, disk / "data", symlinks=True)
    mount("ro")
    print(site.cli("status", data=disk / "data"))
    run = site.cli("run", "--library", str(site.workplace.library), "--clap-model", site.workplace.model, data=disk / "data")
    print(run)
    mount("rw")
    assert paths
