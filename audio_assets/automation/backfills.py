"""Launching a backfill of what is outstanding: titled, in the UI, once, and not more often than allowed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from filelock import FileLock

from audio_assets.attempts import Attempts
from audio_assets.gate import BATCHED
from audio_assets.outstanding import Work, outstanding
from resources.clap_model import ClapModel
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from dagster._core.execution.backfill import PartitionBackfill

#: On backfills and runs that no person launched.
AUTOMATION_TAG = "audio-assets/launched-by"

#: On runs, by Dagster: the batch.
PARTITION_TAG = "dagster/partition"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.MANAGED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_HEARTBEAT_TOLERANCE_S = 120.0

Target = tuple[str, str]


@dataclass(frozen=True)
class Plan:
    """What a backfill would do: ``launched`` work, work ``running`` already, and work ``given_up``."""

    launched: list[Work]
    running: list[Work]
    given_up: list[Work]
    model_problem: str | None

    def __str__(self) -> str:
        """One sentence for a person."""
        parts = [f"{extent(self.launched)} to compute"]
        if self.running:
            parts.append(f"{extent(self.running)} running already")
        if self.given_up:
            parts.append(f"{extent(self.given_up)} given up (audio-assets retry tries again)")
        if self.model_problem:
            parts.append(f"embeddings not looked at: {self.model_problem.rstrip('.')}")
        return "; ".join(parts)


def launching(data_dir: Path) -> FileLock:
    """Lock to hold from `plan` to `launch`, so that two at the same moment do not launch the same."""
    return FileLock(data_dir / ".launch.lock")


def plan(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    clap_model: ClapModel,
    attempts: Attempts,
    backfill_id: str,
) -> Plan:
    """Decide what of the outstanding work to launch now; never downloads a model."""
    busy = unfinished_targets(instance)
    found = outstanding(instance, warehouse, clap_model.model_copy(update={"offline": True}), busy)
    running = [work for work in found.work if (work.table, work.batch) in busy]
    free = [work for work in found.work if (work.table, work.batch) not in busy]
    allowed, given_up = attempts.split(free, backfill_id)
    return Plan(allowed, running, given_up, found.model_problem)


def launch(
    instance: dg.DagsterInstance,
    work: Iterable[Work],
    attempts: Attempts,
    *,
    backfill_id: str,
    title: str,
    launched_by: str,
) -> list[str]:
    """Launch a backfill of some work; a second call with the same id does nothing.

    Where runs go to a queue for each table, it is a backfill for each queue: within one, Dagster computes all
    tables of a batch in one run.

    Parameters
    ----------
    instance : DagsterInstance
        Its daemon works the backfill off.
    work : iterable of Work
        With none, nothing is launched.
    attempts : Attempts
        Counts the launch, before it happens: a crash between the two costs an attempt, and not the cap.
    backfill_id : str
        The same for the same tick of a schedule.
    title : str
        What the UI shows.
    launched_by : str
        Name of the sensor, schedule or command.

    Returns
    -------
    list of str
        Ids of the backfills that there are now, as the UI lists them.
    """
    items, ids = list(work), []
    queues = getattr(instance.run_launcher, "queues", {})
    for queue in sorted({queues.get(item.table, "") for item in items}):
        part = [item for item in items if queues.get(item.table, "") == queue]
        part_id = f"{backfill_id}-{queue}" if queue else backfill_id
        ids.append(part_id)
        if instance.get_backfill(part_id) is None:
            attempts.note(part, backfill_id)
            _add_backfill(instance, part, part_id, title, {AUTOMATION_TAG: launched_by})
    return ids


def unfinished_targets(instance: dg.DagsterInstance) -> set[Target]:
    """Tables and batches that an unfinished backfill or run is to compute, whoever launched it."""
    return _run_targets(instance, _UNFINISHED) | _backfill_targets(instance)


def targets_of_others(instance: dg.DagsterInstance, now_s: float) -> set[Target]:
    """Tables and batches that are not to be computed here, as somebody else does, or is about to.

    Without a daemon nothing that waits is ever begun, and only what a process is at counts.
    """
    return unfinished_targets(instance) if daemon_runs(instance, now_s) else _run_targets(instance, _AT_WORK)


def something_runs(instance: dg.DagsterInstance) -> bool:
    """Whether any run or backfill is unfinished."""
    unfinished = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED), limit=1)
    return bool(unfinished) or bool(_unfinished_backfills(instance))


def job_runs(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run of a job is unfinished."""
    return bool(instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED), limit=1))


def unfinished_backfill_titles(instance: dg.DagsterInstance) -> list[str]:
    """Give id and title of each backfill that is not finished."""
    return [f"{b.backfill_id} ({b.title})" for b in _unfinished_backfills(instance)]


def daemon_runs(instance: dg.DagsterInstance, now_s: float) -> bool:
    """Whether a daemon that works off backfills has been heard of lately."""
    heartbeat = instance.get_daemon_heartbeats().get("BACKFILL")
    return heartbeat is not None and abs(now_s - heartbeat.timestamp) < _HEARTBEAT_TOLERANCE_S


def _run_targets(instance: dg.DagsterInstance, statuses: list[dg.DagsterRunStatus]) -> set[Target]:
    runs = instance.get_runs(dg.RunsFilter(statuses=statuses))
    batches = {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags}
    return {(table, batch) for table in BATCHED for batch in batches}


def extent(work: list[Work]) -> str:
    """Say how much work there is."""
    n_batches = len({item.batch for item in work})
    counts = [f"{sum(item.table == table for item in work)} of {table}" for table in BATCHED]
    return f"{n_batches} {'batch' if n_batches == 1 else 'batches'} ({', '.join(counts)})"


# Dagster has no public way to launch or look at an asset backfill from code. What it takes is in the
# functions below and nowhere else.


def _add_backfill(
    instance: dg.DagsterInstance, work: list[Work], backfill_id: str, title: str, tags: dict[str, str]
) -> None:
    from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
    from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
    from dagster._core.execution.backfill import PartitionBackfill
    from dagster._time import get_current_timestamp

    batches = {table: {item.batch for item in work if item.table == table} for table in BATCHED}
    subsets = {dg.AssetKey(table): DefaultPartitionsSubset(keys) for table, keys in batches.items() if keys}
    n_tracks = len({track.song_id for item in work for track in item.tracks})
    instance.add_backfill(
        PartitionBackfill.from_asset_graph_subset(
            backfill_id=backfill_id,
            backfill_timestamp=get_current_timestamp(),
            tags=tags,
            dynamic_partitions_store=instance,
            asset_graph_subset=AssetGraphSubset(subsets, set()),  # type: ignore[call-arg]
            title=title,
            description=f"{n_tracks} tracks wait in {extent(work)}.",
            run_config=None,
        )
    )


class Ending(Enum):
    """How a backfill has come to its end.

    ``FAILED``: runs of it had failed, or Dagster itself had, as when the disk is full. ``OTHERWISE``: it went
    well, was cancelled, or was removed.
    """

    FAILED = auto()
    OTHERWISE = auto()


def ending(instance: dg.DagsterInstance, backfill_id: str) -> Ending | None:
    """Tell how a backfill has ended; None while it goes on."""
    from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus

    backfill = instance.get_backfill(backfill_id)
    if backfill is None:
        return Ending.OTHERWISE
    if backfill.status in (BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.FAILED):
        return Ending.FAILED
    return Ending.OTHERWISE if backfill.status in BULK_ACTION_TERMINAL_STATUSES else None


def _unfinished_backfills(instance: dg.DagsterInstance) -> "Sequence[PartitionBackfill]":
    from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus

    states = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    return instance.get_backfills(filters=BulkActionsFilter(statuses=states))


def _backfill_targets(instance: dg.DagsterInstance) -> set[Target]:
    found: set[Target] = set()
    for backfill in _unfinished_backfills(instance):
        data = backfill.asset_backfill_data
        if data is None:
            continue
        for table in BATCHED:
            subset = data.target_subset.partitions_subsets_by_asset_key.get(dg.AssetKey(table))
            found.update((table, key) for key in (subset.get_partition_keys() if subset else ()))
    return found
