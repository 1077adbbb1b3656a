"""A long queue of runs: what the daemon does between two runs, and what is asked of it by the automation.

The queue is real rows of Dagster's storage, written in one transaction; the daemon itself takes a quarter of
a second of processor time to make one (the part ``launch`` measures it).
"""

import uuid
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.run_request import RunRequest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.dagster_run import RunOpConcurrency
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from audio_assets.automation.backfills import something_runs, unfinished_targets
from audio_assets.gate import BATCHED
from scale_cost.events import blocking_checks
from scale_cost.meter import Meter

_JOB = "__ASSET_JOB"
_ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "it"), _JOB)
_KEYS = [dg.AssetKey(table) for table in BATCHED]
_CHECKS = [check for table in BATCHED for check in blocking_checks(table)]


def measure_queue(instance: dg.DagsterInstance, backfill_id: str, batches: list[str], meter: Meter) -> None:
    """Measure one look at a queue of a run for each batch, and what Dagster writes after each 25."""
    requests = [
        RunRequest(asset_selection=_KEYS, asset_check_keys=_CHECKS, partition_key=batch, tags=_tags(batch))
        for batch in batches
    ]
    backfill = instance.get_backfill(backfill_id)
    assert backfill is not None
    ids = [str(uuid.uuid4()) for _ in batches]
    with meter.step("daemon: note what is to be queued (after each 25 runs)"):
        instance.update_backfill(backfill.with_submitting_run_requests(requests, ids))
        instance.get_backfill(backfill_id)
    _queue(instance, batches, ids)
    with (
        QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon,
        meter.step("daemon: one look at the queue"),
    ):
        chosen = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
    assert chosen
    with meter.step("what is under way (plan's first question)"):
        assert len(unfinished_targets(instance)) == len(BATCHED) * len(batches)
    with meter.step("does anything run?"):
        assert something_runs(instance)


def _queue(instance: dg.DagsterInstance, batches: list[str], ids: list[str]) -> None:
    storage, now = instance.run_storage, datetime.now(UTC)
    runs = [_run(batch, run_id) for batch, run_id in zip(batches, ids, strict=True)]
    tags = [
        {"run_id": run.run_id, "key": key, "value": value} for run in runs for key, value in run.tags.items()
    ]
    with storage.connect() as connection:  # commits at its end
        connection.execute(RunsTable.insert(), [storage._get_run_insertion_values(run, now) for run in runs])
        connection.execute(RunTagsTable.insert(), tags)


def _run(batch: str, run_id: str) -> dg.DagsterRun:
    return dg.DagsterRun(
        job_name=_JOB,
        remote_job_origin=_ORIGIN,
        run_id=run_id,
        status=dg.DagsterRunStatus.QUEUED,
        tags=_tags(batch),
        asset_selection=frozenset(_KEYS),
        asset_check_selection=frozenset(_CHECKS),
        run_op_concurrency=RunOpConcurrency(
            root_key_counts={"cpu": 1, "clap": 1},
            has_unconstrained_root_nodes=False,
            all_pools={"cpu", "clap"},
        ),
    )


def _tags(batch: str) -> dict[str, str]:
    return {"dagster/partition": batch, "dagster/backfill": "scale"}
