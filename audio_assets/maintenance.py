"""Keeping a data folder from growing for ever: old generations, strays, superseded files and run records.

What belongs here: the job, its schedule, and which of Dagster's run records go. What does not: what is swept
from the data folder (``warehouse``), and the limits on ticks, which are Dagster's own (``dagster.yaml``).
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import dagster as dg
from pydantic import Field

from resources.warehouse import Warehouse

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PAGE = 500


class Retention(dg.Config):
    """How long run records are kept."""

    kept_run_days: int = Field(
        default=30, ge=1, description="Superseded runs that ended earlier are removed."
    )


@dg.op
def sweep_data_folder(context: dg.OpExecutionContext, warehouse: Warehouse) -> None:
    """Remove strays of killed writers, superseded files of the record and old generations."""
    swept = warehouse.sweep()
    numbers = {f"removed_{what}": len(paths) for what, paths in swept.removed.items()}
    context.add_output_metadata({**numbers, "freed_bytes": swept.freed_bytes})


@dg.op
def prune_run_records(context: dg.OpExecutionContext, config: Retention) -> None:
    """Remove records of old runs, but none that a table or partition owes its state to."""
    pruned = prune_runs(context.instance, config.kept_run_days)
    context.add_output_metadata({"removed_runs": len(pruned)})


@dg.job(
    description="Remove what nobody needs any more; safe at any time, beside readers and runs.",
    executor_def=dg.in_process_executor,
)
def maintenance() -> None:
    """Sweep the data folder and Dagster's run records."""
    sweep_data_folder()
    prune_run_records()


def daily_maintenance(
    status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED, timezone: str = "UTC"
) -> dg.ScheduleDefinition:
    """Maintenance every night."""
    return dg.ScheduleDefinition(
        name="daily_maintenance",
        job=maintenance,
        cron_schedule="17 3 * * *",
        execution_timezone=timezone,
        default_status=status,
    )


def prune_runs(instance: dg.DagsterInstance, kept_days: int) -> list[str]:
    """Remove records of runs that ended long ago and whose every result has been superseded.

    With a run Dagster removes its materialisations, and a partition without one counts as missing. So the run
    that last made, or last failed to make, a partition or table stays, however old.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs are recorded.
    kept_days : int
        Age from which a run may go.

    Returns
    -------
    list of str
        Ids of the runs removed.
    """
    oldest = dt.datetime.now(dt.UTC) - dt.timedelta(days=kept_days)
    # The list first: runs that end meanwhile are not in it, and so the states below are no older than it.
    ended = list(_ended_before(instance, oldest))
    needed = _runs_of_latest_results(instance)
    superseded = [run for run in ended if run.run_id not in needed and not _is_latest_attempt(instance, run)]
    for run in superseded:
        _delete(instance, run.run_id)
    return [run.run_id for run in superseded]


def _ended_before(instance: dg.DagsterInstance, moment: dt.datetime) -> Iterator[dg.DagsterRun]:
    wanted = dg.RunsFilter(statuses=_ENDED, updated_before=moment)
    cursor = None
    while page := instance.get_runs(wanted, cursor=cursor, limit=_PAGE):
        yield from page
        cursor = page[-1].run_id


def _runs_of_latest_results(instance: dg.DagsterInstance) -> set[str]:
    """Find the runs that made what is there now of each table and partition."""
    return {run_id for key in instance.all_asset_keys() for run_id in _latest_makers(instance, key)}


def _latest_makers(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[str]:
    latest = instance.get_latest_materialization_event(key)
    if latest is not None:
        yield latest.run_id
    # Dagster gives the newest of each partition as ids of events, and the events by their ids.
    event = dg.DagsterEventType.ASSET_MATERIALIZATION
    ids = sorted(instance.get_latest_storage_id_by_partition(key, event).values())
    for chunk in _chunks(ids):
        wanted = dg.AssetRecordsFilter(key, storage_ids=chunk)
        yield from (made.run_id for made in instance.fetch_materializations(wanted, len(chunk)).records)


def _is_latest_attempt(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run that did not succeed is why the UI shows a partition or table as failed."""
    if run.status == dg.DagsterRunStatus.SUCCESS:
        return False
    partition = run.tags.get("dagster/partition")
    infos = (
        instance.get_latest_planned_materialization_info(key, partition)
        for key in instance.get_asset_keys_for_run(run.run_id) | set(run.asset_selection or ())
    )
    return any(info is not None and info.run_id == run.run_id for info in infos)


def _chunks(ids: Iterable[int]) -> Iterator[Sequence[int]]:
    remaining = iter(ids)
    while chunk := list(islice(remaining, _PAGE)):
        yield chunk


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove a run, and the file of its own that SQLite storage leaves behind, emptied but as large."""
    instance.delete_run(run_id)
    path_for_shard = getattr(instance.event_log_storage, "path_for_shard", None)
    if path_for_shard is not None:
        Path(path_for_shard(run_id)).unlink(missing_ok=True)
