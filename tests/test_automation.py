"""When the automation acts, and when not: sensors and schedule evaluated by hand over a real instance."""

import datetime as dt
import http.server
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from conftest import Workplace
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat
from test_unattended import note

from audio_assets.attempts import Attempts, forget_attempts
from audio_assets.automation import (
    AutomationSettings,
    forgotten_retries,
    library_sensors,
    scheduled_backfill,
)
from audio_assets.automation.alerts import AlertError, alert_sensors, deliver
from audio_assets.automation.backfills import targets_of_others
from audio_assets.automation.lost_runs import end_lost_runs, this_process
from audio_assets.automation.on_demand import backfill_now
from audio_assets.builds import due
from audio_assets.definitions import build_defs
from audio_assets.environment import SettingError
from audio_assets.library import list_library
from audio_assets.outstanding import Outstanding, Work, outstanding, outstanding_as_recorded
from audio_assets.pipeline import open_instance
from audio_assets.warehouse import BatchSummary, complete_batch, doors
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.progress import Progress
from resources.track_library import TrackLibrary, library_from_environment
from resources.warehouse import Warehouse, warehouse_from_environment

SETTINGS = AutomationSettings(on=True, settle_s=0.0)
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class Site:
    """A workplace with an instance, and the automation over it."""

    def __init__(self, workplace: Workplace, instance: dg.DagsterInstance, batch_size: int) -> None:
        self.workplace = workplace
        self.instance = instance
        self.warehouse = Warehouse(data_dir=str(workplace.data))
        self.resources = {
            "library": TrackLibrary(root=str(workplace.library), batch_size=batch_size),
            "warehouse": self.warehouse,
            "clap_model": ClapModel(model_id=workplace.model, offline=True),
            "analysis_pool": AnalysisPool(workers=2),
            "progress": Progress(),
        }
        self.defs = build_defs(**self.resources)
        self.cursors: dict[str, str | None] = {}

    def tick(self, name: str, settings: AutomationSettings = SETTINGS) -> dg.SensorResult | dg.SkipReason:
        """Evaluate a sensor, and keep its cursor, as the daemon does."""
        sensors = [
            *library_sensors(settings),
            forgotten_retries(settings.interval_s),
            *alert_sensors(settings),
        ]
        (sensor,) = (sensor for sensor in sensors if sensor.name == name)
        wanted = {key: self.resources[key] for key in sensor.required_resource_keys}
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            resources=wanted,
            sensor_name=name,
            repository_def=self.defs.get_repository_def(),
        )
        with partition_loading_context(dynamic_partitions_store=self.instance):
            result = sensor.evaluate_tick(context)
        self.cursors[name] = result.cursor
        return result

    def keep_as_the_daemon_does(self, name: str, status: InstigatorStatus) -> None:
        """Store a sensor's status and cursor where Dagster's daemon has them."""
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "here")
        origin = RemoteInstigatorOrigin(repository, name)
        data = SensorInstigatorData(cursor=self.cursors[name], last_tick_timestamp=time.time())
        state = InstigatorState(origin, InstigatorType.SENSOR, status, data)
        known = self.instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
        (self.instance.update_instigator_state if known else self.instance.add_instigator_state)(state)

    def scheduled(self, at: dt.datetime, settings: AutomationSettings = SETTINGS) -> str:
        """Evaluate the schedule; return what its tick says."""
        context = dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=at,
            resources={key: self.resources[key] for key in ("warehouse", "clap_model")},
        )
        return str(scheduled_backfill(settings).evaluate_tick(context).skip_message)

    def refresh(self, settle_s: float = 0.0) -> None:
        """Run the job that the sensor launches."""
        result = self.defs.resolve_job_def("refresh_manifest").execute_in_process(
            instance=self.instance,
            run_config={"ops": {"track_manifest": {"config": {"settle_s": settle_s}}}},
        )
        assert result.success

    def finish_backfills(self, status: str = "COMPLETED_FAILED") -> None:
        """End all backfills without having done anything, as if each of their runs had failed."""
        from dagster._core.execution.backfill import BulkActionStatus

        for backfill in self.instance.get_backfills():
            self.instance.update_backfill(backfill.with_status(BulkActionStatus(status)))


@pytest.fixture
def site(workplace: Workplace) -> Iterator[Site]:
    with open_instance(workplace.data) as instance:
        yield Site(workplace, instance, batch_size=256)


def test_a_drop_of_a_thousand_files_becomes_one_look_and_one_backfill_of_four_batches(site: Site) -> None:
    first = note(site.workplace.library / "0.wav", 0).read_bytes()
    for number in range(1, 1000):
        (site.workplace.library / f"{number}.wav").write_bytes(first + bytes([number % 256, number // 256]))
    assert len(site.tick("library_changes").run_requests) == 1
    site.refresh()
    assert not site.tick("library_changes").run_requests
    assert "4 batches" in str(site.tick("batches_to_analyse").skip_message)
    site.tick("batches_to_analyse")
    (backfill,) = site.instance.get_backfills()
    assert backfill.title == "New and changed tracks"
    assert "1000 tracks" in backfill.description
    for asset in ("audio_features", "clap_embeddings"):
        subset = backfill.asset_backfill_data.get_target_partitions_subset(dg.AssetKey(asset))
        assert set(subset.get_partition_keys()) == {f"batch-00000{i}" for i in range(1, 5)}


def test_files_that_are_still_arriving_are_waited_for_and_then_left_out(site: Site) -> None:
    library = site.workplace.library
    settings = replace(SETTINGS, settle_s=3600.0, gather_s=0.5)
    note(library / "slow.wav", 0)
    assert "1 still being copied" in str(site.tick("library_changes", settings).skip_message)
    time.sleep(0.6)  # gathered long enough: what has settled is taken in, and the rest left
    assert site.tick("library_changes", settings).run_requests
    site.refresh(settle_s=3600.0)
    assert site.warehouse.ledger() == []

    site.refresh()
    (before,) = site.warehouse.ledger()
    note(library / "slow.wav", 5)
    note(library / "new.wav", 7)
    site.refresh(settle_s=3600.0)
    assert site.warehouse.ledger() == [before], "a file in the middle of being replaced was taken in"
    site.refresh()
    assert {entry.audio_path for entry in site.warehouse.ledger()} == {"slow.wav", "new.wav"}
    assert before not in site.warehouse.ledger()


@pytest.mark.parametrize(
    ("change", "is_noticed"),
    [
        (lambda path: note(path.with_name("b.wav"), 1), True),
        (lambda path: note(path, 1), True),
        (lambda path: path.rename(path.with_name("c.wav")), True),
        (lambda path: path.unlink(), True),
        (lambda path: path.with_name("cover.jpg").write_bytes(b"x"), False),
        (lambda path: path.read_bytes(), False),
    ],
    ids=["new", "changed", "moved", "removed", "no-music", "read"],
)
def test_names_sizes_and_times_tell_whether_to_look(tmp_path: Path, change, is_noticed: bool) -> None:
    path = note(tmp_path / "a.wav", 0)
    note(tmp_path / "z.wav", 2)
    before = list_library(tmp_path, None, 0, time.time())
    change(path)
    after = list_library(tmp_path, None, 0, time.time())
    assert (before.signature != after.signature) == is_noticed


def test_a_file_from_the_future_is_not_waited_for(tmp_path: Path) -> None:
    """As after a clock was set back."""
    note(tmp_path / "a.wav", 0)
    assert list_library(tmp_path, None, 30, time.time()).settling == {"a.wav"}
    assert not list_library(tmp_path, None, 30, time.time() - 3600).settling


def test_a_look_that_failed_is_repeated_after_a_pause(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    note(site.workplace.library / "a.wav", 0)
    assert site.tick("library_changes").run_requests
    assert "failed" in str(site.tick("library_changes").skip_message)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 301)
    assert site.tick("library_changes").run_requests
    monkeypatch.setattr(time, "time", lambda: now_s + 301 + 301)
    assert "failed" in str(site.tick("library_changes").skip_message), "the pause did not grow"


def test_a_scheduled_tick_launches_one_titled_backfill_however_often_it_is_evaluated(site: Site) -> None:
    note(site.workplace.library / "a.wav", 0)
    site.refresh()
    assert "1 batch (1 of audio_features, 1 of clap_embeddings) to compute" in site.scheduled(NOON)
    site.scheduled(NOON)
    (backfill,) = site.instance.get_backfills()
    assert backfill.title == "Scheduled backfill 2026-03-01 12.00"
    later = site.scheduled(NOON + dt.timedelta(hours=1))
    assert "1 batch (1 of audio_features, 1 of clap_embeddings) running already" in later
    assert len(site.instance.get_backfills()) == 1


def test_the_hour_that_is_there_twice_in_autumn_has_two_ticks(site: Site) -> None:
    note(site.workplace.library / "a.wav", 0)
    site.refresh()
    first = dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    for tick in (first, first.replace(fold=1)):
        site.scheduled(tick)
        site.finish_backfills()
    assert len(site.instance.get_backfills()) == 2


def test_a_poisoned_batch_is_given_up_and_said_to_be_until_its_inputs_change(site: Site) -> None:
    path = note(site.workplace.library / "a.wav", 0)
    site.refresh()
    for hour in range(5):
        said = site.scheduled(NOON + dt.timedelta(hours=hour))
        site.finish_backfills()
    assert len(site.instance.get_backfills()) == 3
    assert "1 batch (1 of audio_features, 1 of clap_embeddings) given up" in said
    given_up = Attempts(site.workplace.data, 3).given_up(
        outstanding_as_recorded(site.instance, site.warehouse)
    )
    assert [work.table for work in given_up] == ["audio_features", "clap_embeddings"], (
        "status does not say so"
    )

    note(path, 3)
    site.refresh()
    site.scheduled(NOON + dt.timedelta(days=1))
    assert len(site.instance.get_backfills()) == 4, "a changed file was not tried"
    site.finish_backfills()
    for hour in range(4):
        site.scheduled(NOON + dt.timedelta(days=2, hours=hour))
        site.finish_backfills()
    assert len(site.instance.get_backfills()) == 6
    forget_attempts(site.workplace.data)
    site.scheduled(NOON + dt.timedelta(days=3))
    assert len(site.instance.get_backfills()) == 7


def test_attempts_of_a_week_ago_do_not_count(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    note(site.workplace.library / "a.wav", 0)
    site.refresh()
    for hour in range(4):
        said = site.scheduled(NOON + dt.timedelta(hours=hour))
        site.finish_backfills()
    assert "given up" in said
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 8 * 86_400)
    assert "given up" not in site.scheduled(NOON + dt.timedelta(days=8))
    assert len(site.instance.get_backfills()) == 4


def test_inputs_that_take_turns_are_given_up_as_well(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, 2)
    works = [Work("audio_features", "batch-000001", [], "v", inputs) for inputs in ("a", "b")]
    for turn in range(4):
        work = works[turn % 2]
        assert attempts.split([work], f"{turn}") == ([work], [])
        attempts.note([work], f"{turn}")
    assert attempts.given_up(works) == works
    anew = replace(works[0], inputs="c")
    assert attempts.given_up([anew]) == []


def test_two_at_the_same_moment_launch_one_backfill(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    note(site.workplace.library / "a.wav", 0)
    site.refresh()

    def slowly(*args: object) -> Outstanding:
        found = outstanding(*args)
        time.sleep(0.5)
        return found

    monkeypatch.setattr("audio_assets.automation.backfills.outstanding", slowly)
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(site.scheduled, (NOON, NOON + dt.timedelta(hours=1))))
    assert len(site.instance.get_backfills()) == 1
    assert sum("running already" in words for words in said) == 1


def test_where_runs_go_to_a_queue_for_each_table_a_backfill_is_launched_for_each(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the command names those that there are."""
    note(site.workplace.library / "a.wav", 0)
    site.refresh()
    site.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "BACKFILL", "daemon", []))
    queues = {"audio_features": "cpu", "clap_embeddings": "clap"}
    monkeypatch.setattr(type(site.instance.run_launcher), "queues", queues, raising=False)
    model = ClapModel(model_id=site.workplace.model, offline=True)
    _, launched = backfill_now(site.instance, site.warehouse, model, dry_run=False)
    assert [backfill_id.rpartition("-")[2] for backfill_id in launched] == ["clap", "cpu"]
    assert {backfill.backfill_id for backfill in site.instance.get_backfills()} == set(launched)


def test_a_run_in_a_terminal_leaves_alone_what_the_daemon_is_to_compute(site: Site) -> None:
    note(site.workplace.library / "a.wav", 0)
    site.refresh()
    site.scheduled(NOON)
    site.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "BACKFILL", "daemon", []))
    report = site.workplace.run()
    assert report.left_to_others == {"batch-000001"}
    assert report.succeeded
    assert site.warehouse.record.batches("audio_features") == []
    site.finish_backfills()
    assert targets_of_others(site.instance, time.time()) == set()


def test_a_batch_that_a_terminal_is_at_is_left_alone_by_the_automation_and_by_other_terminals(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(site.workplace.library / "a.wav", 0)
    site.refresh()
    seen: list[object] = []

    def meanwhile(*args: object) -> BatchSummary:
        seen.extend([site.scheduled(NOON), site.workplace.run().left_to_others])
        return complete_batch(*args)

    monkeypatch.setattr("audio_assets.assets.features.complete_batch", meanwhile)
    assert site.workplace.run().succeeded
    said, left = seen
    assert "1 batch (1 of audio_features, 1 of clap_embeddings) running already" in str(said)
    assert left == {"batch-000001"}
    assert site.instance.get_backfills() == []


def test_a_run_that_its_daemon_never_launched_does_not_hold_up_all_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two; and one whose process lives, on a clock that jumps."""
    orphan = create_run_for_test(site.instance, job_name="analyse_batch")
    mine = create_run_for_test(site.instance, job_name="analyse_batch", tags=this_process())
    gone = {".dagster/grpc_info": json.dumps({"socket": str(site.workplace.data / "gone")})}
    retry = create_run_for_test(
        site.instance, job_name="analyse_batch", tags=gone, status=dg.DagsterRunStatus.STARTING
    )
    assert end_lost_runs(site.instance) == [], "a retry has its predecessor's server until it is launched"
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 700)
    assert set(end_lost_runs(site.instance)) == {orphan.run_id, retry.run_id}
    assert not site.instance.get_run_by_id(mine.run_id).is_finished


def test_a_retry_that_dagster_refuses_is_not_waited_for_for_ever(site: Site) -> None:
    """One that it may still make; and one of a run in a terminal, which no daemon can make again."""
    daemons = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "it"), "job")
    run = create_run_for_test(site.instance, job_name="analyse_batch", remote_job_origin=daemons)
    terminals = create_run_for_test(site.instance, job_name="analyse_batch")

    def said_to_wait() -> tuple[str, set[str]]:
        words = str(site.tick("retries_forgotten").skip_message)
        runs = site.instance.get_runs()
        return words, {run.run_id for run in runs if run.is_complete_and_waiting_to_retry}

    for failed in (run, terminals):
        site.instance.report_run_failed(failed)
    assert said_to_wait() == ("No retry is forgotten.", {run.run_id, terminals.run_id})
    both = f"Shown to Dagster again: {run.run_id}. Not waited for any more: {terminals.run_id}."
    assert said_to_wait() == (both, {run.run_id})
    for _ in range(28):
        assert said_to_wait() == (f"Shown to Dagster again: {run.run_id}.", {run.run_id})
    assert said_to_wait() == (f"Not waited for any more: {run.run_id}.", set())
    assert said_to_wait() == ("No retry is forgotten.", set())


def killed_run_of_a_backfill(site: Site, **of_run: object) -> dg.DagsterRun:
    """Add a run of the batch of a fresh library that failed, is to be retried, and was seen so by a tick."""
    note(site.workplace.library / "a.wav", 0)
    site.refresh()
    site.tick("batches_to_analyse")
    (backfill,) = site.instance.get_backfills()
    tags = {"dagster/backfill": backfill.backfill_id, "dagster/partition": "batch-000001", "mine": "kept"}
    daemons = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "it"), "job")
    options = {"job_name": "analyse_batch", "tags": tags, "remote_job_origin": daemons, **of_run}
    run = create_run_for_test(site.instance, **options)
    site.instance.report_run_failed(run)
    assert not site.tick("retries_forgotten").run_requests, "it has just failed"
    return run


@pytest.mark.parametrize("status", ["COMPLETED_FAILED", "FAILED"])
@pytest.mark.parametrize("assets", [frozenset([dg.AssetKey("audio_features")]), None])
def test_a_retry_that_dagster_refuses_as_it_has_ended_the_backfill_is_made(
    site: Site, assets: frozenset[dg.AssetKey] | None, status: str
) -> None:
    """Of some of the assets, or of all that the job has; asked for until it is there."""
    config = {"ops": {"audio_features": {"config": {"anew": ["an id"]}}}}
    run = killed_run_of_a_backfill(site, asset_selection=assets, run_config=config)
    assert run.run_id in str(site.tick("retries_forgotten").skip_message), "while the backfill goes on"
    site.finish_backfills(status)
    for _ in range(2):
        (request,) = site.tick("retries_forgotten").run_requests
        assert request.partition_key == "batch-000001"
        assert request.asset_selection == (assets and list(assets))
        assert request.run_config == config
        assert request.tags["dagster/parent_run_id"] == run.run_id
        assert request.tags["mine"] == "kept"
        assert request.tags["audio-assets/launched-by"] == "retries_forgotten"
    again = {"job_name": "analyse_batch", "status": dg.DagsterRunStatus.SUCCESS, "tags": request.tags}
    create_run_for_test(site.instance, **again)
    assert run.run_id in str(site.tick("retries_forgotten").skip_message)
    assert site.tick("retries_forgotten").skip_message == "No retry is forgotten."


def test_a_retry_is_not_made_while_somebody_is_at_the_batch(site: Site) -> None:
    run = killed_run_of_a_backfill(site)
    site.finish_backfills()
    tags = {"dagster/partition": "batch-000001"}
    other = create_run_for_test(site.instance, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert not site.tick("retries_forgotten").run_requests
    site.instance.report_run_failed(other)
    (request,) = site.tick("retries_forgotten").run_requests
    assert request.tags["dagster/parent_run_id"] == run.run_id


def test_a_retry_that_cannot_be_made_is_given_up(site: Site) -> None:
    run = killed_run_of_a_backfill(site)
    site.finish_backfills()
    ticks = [site.tick("retries_forgotten") for _ in range(30)]
    assert [len(tick.run_requests) for tick in ticks] == [1] * 29 + [0]
    assert f"Not waited for any more: {run.run_id}" in str(ticks[-1].skip_message)


def test_a_retry_is_not_made_of_a_backfill_that_somebody_has_cancelled(site: Site) -> None:
    run = killed_run_of_a_backfill(site)
    site.finish_backfills("CANCELED")
    tick = site.tick("retries_forgotten")
    assert not tick.run_requests
    assert f"Not waited for any more: {run.run_id}" in str(tick.skip_message)


def test_a_run_in_a_worker_is_left_to_its_launcher_whoever_executed_it_before(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executed again, a run has the tags of the one before, whose processes are gone."""
    monkeypatch.setattr(type(site.instance.run_launcher), "queues", {}, raising=False)
    gone = {".dagster/grpc_info": json.dumps({"socket": str(site.workplace.data / "gone")})}
    started = {"job_name": "analyse_batch", "status": dg.DagsterRunStatus.STARTED}
    lost = create_run_for_test(site.instance, tags=gone, **started)
    create_run_for_test(site.instance, tags={**gone, "dagster-celery/task_id": "1"}, **started)
    assert end_lost_runs(site.instance) == [lost.run_id]


def test_during_a_long_backlog_tables_are_rebuilt_now_and_then(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        note(site.workplace.library / f"{name}.wav", ord(name) - 97)
    assert site.workplace.run().succeeded
    batch = create_run_for_test(site.instance, job_name="analyse_batch", status=dg.DagsterRunStatus.STARTED)
    now_s = time.time()

    def said_after(hours: float) -> dg.SensorResult | dg.SkipReason:
        monkeypatch.setattr(time, "time", lambda: now_s + 3600 * hours)
        return site.tick("tables_to_rebuild")

    assert "Runs are going on" in str(said_after(0).skip_message)
    assert "as it is" in str(said_after(7).skip_message), "rebuilt although nothing has come of the runs yet"
    (site.workplace.library / "a.wav").unlink()
    site.refresh()
    assert "Runs are going on" in str(said_after(8).skip_message)
    assert "Runs are going on" in str(said_after(13).skip_message)
    (request,) = said_after(14.1).run_requests
    assert request.tags["dagster/priority"] == "1", "it would wait for the whole backlog"
    assert "failed; the next is in" in str(said_after(14.15).skip_message)
    assert said_after(14.3).run_requests
    site.instance.report_run_failed(batch)
    assert said_after(14.4).run_requests


def test_tables_wait_for_the_backfill_that_a_changed_manifest_is_about_to_get(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(site.workplace.library / "a.wav", 0)
    assert site.workplace.run().succeeded
    site.tick("batches_to_analyse")
    site.keep_as_the_daemon_does("batches_to_analyse", InstigatorStatus.DECLARED_IN_CODE)
    (site.workplace.library / "a.wav").rename(site.workplace.library / "b.wav")
    site.refresh()
    assert "about to be launched" in str(site.tick("tables_to_rebuild").skip_message)
    site.tick("batches_to_analyse")
    site.keep_as_the_daemon_does("batches_to_analyse", InstigatorStatus.DECLARED_IN_CODE)
    assert site.tick("tables_to_rebuild").run_requests, "the name was all that had changed"

    note(site.workplace.library / "c.wav", 1)
    site.refresh()
    assert "about to be launched" in str(site.tick("tables_to_rebuild").skip_message)
    site.keep_as_the_daemon_does("batches_to_analyse", InstigatorStatus.STOPPED)
    assert site.tick("tables_to_rebuild").run_requests, "waited for a sensor that is off"
    now_s = time.time()
    for hours, launched in ((1, False), (7, True)):
        monkeypatch.setattr(time, "time", lambda hours=hours: now_s + 3600 * hours)
        site.keep_as_the_daemon_does("batches_to_analyse", InstigatorStatus.RUNNING)
        requests = getattr(site.tick("tables_to_rebuild"), "run_requests", [])
        assert bool(requests) == launched, "it waits for a sensor that ticks and fails, and not for ever"
    monkeypatch.setattr(time, "time", lambda: now_s + 8 * 3600)
    assert site.tick("tables_to_rebuild").run_requests, "waited for a sensor that does not tick any more"


def test_nothing_published_yet_is_nothing_to_complain_of(site: Site) -> None:
    verified = site.defs.resolve_job_def("verify_tables").execute_in_process(instance=site.instance)
    assert verified.success
    assert all(found.passed for found in verified.get_asset_check_evaluations())


def test_tables_are_rebuilt_only_when_they_are_not_made_of_what_is_there(site: Site) -> None:
    for name in "abc":
        note(site.workplace.library / f"{name}.wav", ord(name) - 97)
    assert "no manifest" in str(site.tick("tables_to_rebuild").skip_message)
    assert site.workplace.run().succeeded
    assert due(site.instance, site.warehouse) == []
    assert "as it is" in str(site.tick("tables_to_rebuild").skip_message)

    (site.workplace.library / "a.wav").unlink()
    site.refresh()
    (request,) = site.tick("tables_to_rebuild").run_requests
    assert [key.to_user_string() for key in request.asset_selection] == [
        *("clap_embeddings_normalized", "retrieval_index", "warehouse_tables", "notebook_exports"),
    ]
    assert "failed; the next is in" in str(site.tick("tables_to_rebuild").skip_message)


def test_what_somebody_removed_or_spoilt_is_noticed_and_made_again(site: Site) -> None:
    """The first at once, the second by the daily verification: no input of the tables has changed."""
    for name in "ab":
        note(site.workplace.library / f"{name}.wav", ord(name) - 97)
    assert site.workplace.run().succeeded
    (site.workplace.data / "warehouse.duckdb").unlink()
    assert due(site.instance, site.warehouse) == ["warehouse_tables"]
    assert site.workplace.run().succeeded
    assert due(site.instance, site.warehouse) == []
    with pytest.MonkeyPatch.context() as upgraded:
        upgraded.setattr(doors, "macros_sql", lambda: "CREATE MACRO of_the_next_version() AS 1;")
        assert due(site.instance, site.warehouse) == ["warehouse_tables", "notebook_exports"]

    verify = site.defs.resolve_job_def("verify_tables")
    assert verify.execute_in_process(instance=site.instance).success
    assert due(site.instance, site.warehouse) == []
    (site.workplace.data / "exports" / "embeddings" / "clap_index.npz").write_bytes(b"")
    assert due(site.instance, site.warehouse) == []
    verify.execute_in_process(instance=site.instance, raise_on_error=False)
    assert due(site.instance, site.warehouse) == ["notebook_exports"]
    assert site.workplace.run().succeeded
    assert due(site.instance, site.warehouse) == []


def test_a_change_to_a_batch_that_is_running_is_not_missed(site: Site) -> None:
    """It may have read the file before, so it is looked at again as soon as it has ended."""
    path = note(site.workplace.library / "a.wav", 0)
    site.refresh()
    assert "1 of audio_features" in str(site.tick("batches_to_analyse").skip_message)
    note(path, 3)
    site.refresh()
    assert "running already" in str(site.tick("batches_to_analyse").skip_message)
    assert "Waiting for batches" in str(site.tick("batches_to_analyse").skip_message)
    site.finish_backfills()
    assert "1 batch" in str(site.tick("batches_to_analyse").skip_message)
    assert len(site.instance.get_backfills()) == 2
    assert "acted on" in str(site.tick("batches_to_analyse").skip_message)
    site.finish_backfills()
    assert "acted on" in str(site.tick("batches_to_analyse").skip_message), "failures are for the schedule"


@pytest.fixture
def told_after(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], list[dict[str, str]]]:
    """Look for overdue tables so many hours from now; the alerts until then."""
    told = tmp_path / "told"
    told.touch()
    script = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read() + chr(10))"
    settings = replace(SETTINGS, overdue_h=2.0, alert_command=(sys.executable, "-c", script))
    note(site.workplace.library / "a.wav", 0)
    now_s = time.time()

    def after(hours: float) -> list[dict[str, str]]:
        monkeypatch.setattr(time, "time", lambda: now_s + 3600 * hours)
        assert "track_manifest" in str(site.tick("alert_on_overdue_tables", settings).skip_message)
        return [json.loads(line) for line in told.read_text().splitlines()]

    return after


def test_tables_that_lag_behind_are_told_of_once_a_day(
    site: Site, told_after: Callable[[float], list[dict[str, str]]]
) -> None:
    for hours in (0, 1, 2.1, 3, 30):
        alerts = told_after(hours)
    first, second = alerts
    assert first["event"] == "tables_overdue"
    assert "track_manifest, warehouse_tables, notebook_exports" in first["message"]
    assert "behind the library for 2.1 h" in first["message"]
    assert "30.0 h" in second["message"]
    site.workplace.library.rename(site.workplace.library.with_name("unmounted"))
    assert told_after(31) == alerts


def test_tables_that_lag_behind_are_told_of_after_a_clock_that_was_ahead(
    told_after: Callable[[float], list[dict[str, str]]],
) -> None:
    for hours in (9000, 9003, 0, 1, 2.1):
        alerts = told_after(hours)
    first, second = (alert["message"] for alert in alerts)
    assert "behind the library for 3.0 h" in first
    assert "behind the library for 2.1 h" in second


def test_work_that_needs_somebody_is_told_of_once_and_then_daily(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    told.touch()
    script = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read() + chr(10))"
    settings = replace(SETTINGS, most_attempts=1, alert_command=(sys.executable, "-c", script))
    now_s = time.time()

    def told_after(hours: float) -> list[str]:
        before = len(told.read_text().splitlines())
        monkeypatch.setattr(time, "time", lambda: now_s + 3600 * hours)
        site.tick("alert_on_stuck_work", settings)
        return [json.loads(line)["event"] for line in told.read_text().splitlines()[before:]]

    note(site.workplace.library / "a.wav", 0)
    site.refresh()
    assert told_after(0) == []
    site.scheduled(NOON, settings)
    site.finish_backfills()
    assert told_after(1) == ["work_given_up"]
    site.resources["clap_model"] = ClapModel(model_id=str(tmp_path / "none"), offline=True)
    assert told_after(2) == ["model_missing"]
    assert told_after(20) == []
    assert told_after(27) == ["model_missing", "work_given_up"]
    forget_attempts(site.workplace.data)
    assert told_after(52) == ["model_missing"]


def test_a_failed_run_is_told_of(site: Site, tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())"
    settings = replace(SETTINGS, alert_command=(sys.executable, "-c", script))
    site.workplace.library.rename(site.workplace.library.with_name("unmounted"))
    job = site.defs.resolve_job_def("refresh_manifest")
    failed = job.execute_in_process(instance=site.instance, raise_on_error=False)
    (sensor,) = (s for s in alert_sensors(settings) if s.name == "alert_on_failed_run")
    sensor(
        dg.build_run_status_sensor_context(
            sensor_name=sensor.name,
            dagster_instance=site.instance,
            dagster_run=failed.dagster_run,
            dagster_event=failed.get_run_failure_event(),
        ).for_run_failure()
    )
    alert = json.loads(told.read_text())
    assert (alert["event"], alert["job"], alert["run_id"]) == (
        "run_failed",
        "refresh_manifest",
        failed.run_id,
    )
    assert alert["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTOMATION", "yes"),
        ("SETTLE_S", "soon"),
        ("SETTLE_S", "nan"),
        ("MOST_ATTEMPTS", "0"),
        ("ALERT_WEBHOOK", "x"),
        ("ALERT_COMMAND", "mail 'me"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"AUDIO_ASSETS_{name}"):
        AutomationSettings.from_environment({f"AUDIO_ASSETS_{name}": value})


@pytest.mark.parametrize("value", ["many", "1"])
def test_a_number_of_generations_that_makes_no_sense_is_refused(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIO_ASSETS_KEPT_GENERATIONS", value)
    with pytest.raises(SettingError, match="AUDIO_ASSETS_KEPT_GENERATIONS"):
        warehouse_from_environment(tmp_path)


def test_the_size_of_new_batches_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIO_ASSETS_BATCH_TRACKS", "4096")
    assert library_from_environment(tmp_path, None).batch_size == 4096
    monkeypatch.setenv("AUDIO_ASSETS_BATCH_TRACKS", "0")
    with pytest.raises(SettingError, match="AUDIO_ASSETS_BATCH_TRACKS"):
        library_from_environment(tmp_path, None)


def test_an_alert_reaches_command_and_webhook_and_never_names_its_address(tmp_path: Path) -> None:
    received: list[dict[str, str]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if "broken" in self.path else 204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/secret"
    script = f"import sys; open({str(tmp_path / 'alert')!r}, 'w').write(sys.stdin.read())"
    settings = AutomationSettings(alert_command=(sys.executable, "-c", script), alert_webhook=address)
    alert = {"event": "run_failed", "message": "no space left"}
    deliver(settings, alert)
    assert received == [alert]
    assert json.loads((tmp_path / "alert").read_text()) == alert
    with pytest.raises(AlertError, match="answered 500") as raised:
        deliver(replace(settings, alert_webhook=address + "/broken"), alert)
    assert "secret" not in str(raised.value)
    with pytest.raises(AlertError, match="not be reached") as raised:
        deliver(replace(settings, alert_webhook=address + "/with a space"), alert)
    assert "secret" not in str(raised.value)
    server.shutdown()
    server.server_close()
    with pytest.raises(AlertError, match="not be reached") as raised:
        deliver(replace(settings, alert_command=("/no/such/program",)), alert)
    assert "secret" not in str(raised.value)
    assert "did not run" in str(raised.value)
