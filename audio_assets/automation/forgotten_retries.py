"""Retries that Dagster promised and then forgot.

Dagster's daemon learns of a failure by its event, and looks at the run once (1.13.27). An event is stored
before the run's status, so a look in between finds a run that has not failed, and there is no second one. The
run stays "to be retried", its backfill never ends, and nothing is rebuilt meanwhile. Or the backfill was ended
as failed by then, by a look in between or since Dagster could not go on with it, as on a full disk, and then it
refuses the retry; it is made from here.
"""

import json
import time

import dagster as dg

from audio_assets.automation.backfills import AUTOMATION_TAG, PARTITION_TAG, ended_by_failures
from audio_assets.automation.jobs import analyse_batch

#: What Dagster does not want to retry it marks nowhere.
_REFUSED_AFTER_S = 600.0
_RECENT_FAILURES = 500


def forgotten_retries(interval_s: int) -> dg.SensorDefinition:
    """Make the sensor that has such runs retried; always on, like the retries themselves."""

    @dg.sensor(
        job=analyse_batch,
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Has runs retried whose retry Dagster's daemon has forgotten.",
    )
    def retries_forgotten(context: dg.SensorEvaluationContext) -> dg.SkipReason | dg.SensorResult:
        seen: dict[str, float] = json.loads(context.cursor) if context.cursor else {}
        now_s = time.time()
        waiting = _waiting(context.instance)
        context.update_cursor(json.dumps({run.run_id: seen.get(run.run_id, now_s) for run in waiting}))
        # Seen for the first time, a run has most likely just failed.
        known = [run for run in waiting if run.run_id in seen]
        again = [run for run in known if _is_of_ended_backfill(context.instance, run)]
        known = [run for run in known if run not in again]
        refused = [
            run.run_id
            for run in known
            if abs(now_s - seen[run.run_id]) > _REFUSED_AFTER_S or run.remote_job_origin is None
        ]
        forgotten = [run.run_id for run in known if run.run_id not in refused]
        if forgotten:
            have_retried(context.instance, forgotten)
        for run_id in [*refused, *(run.run_id for run in again)]:
            _give_up(context.instance, run_id)
        if again:
            return dg.SensorResult(run_requests=[_once_more(run) for run in again])
        said = [f"Shown to Dagster again: {', '.join(forgotten)}."] * bool(forgotten)
        said += [f"Not retried: {', '.join(refused)}."] * bool(refused)
        return dg.SkipReason(" ".join(said) or "No retry is forgotten.")

    return retries_forgotten


def have_retried(instance: dg.DagsterInstance, run_ids: list[str]) -> None:
    """Have Dagster's daemon read its log of failures again, from the first of some runs on.

    It retries no run twice, however often it reads of it, unless somebody deleted the retry.
    """
    failures = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, _RECENT_FAILURES).records
    places = [record.storage_id for record in failures if record.event_log_entry.run_id in run_ids]
    if not places:
        return
    cursors = instance.daemon_cursor_storage
    if int(cursors.get_cursor_values({_CURSOR}).get(_CURSOR, "0")) >= min(places):
        cursors.set_cursor_values({_CURSOR: str(min(places) - 1)})


# Where the daemon keeps how far it has read, and the mark by which a backfill waits for a retry. Neither is
# public.

_CURSOR = f"EVENT_LOG_CONSUMER_CURSOR-{dg.DagsterEventType.RUN_FAILURE.value}"
_WILL_RETRY_TAG = "dagster/will_retry"
_BACKFILL_TAG = "dagster/backfill"
_PARENT_TAG, _ROOT_TAG = "dagster/parent_run_id", "dagster/root_run_id"


def _waiting(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Find runs that failed and are to be retried, by a run that is not there yet."""
    to_be_retried = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={_WILL_RETRY_TAG: "true"})
    failed = instance.get_runs(to_be_retried, limit=_RECENT_FAILURES)
    return [run for run in failed if run.is_complete_and_waiting_to_retry]


def _is_of_ended_backfill(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    backfill_id = run.tags.get(_BACKFILL_TAG)
    return PARTITION_TAG in run.tags and backfill_id is not None and ended_by_failures(instance, backfill_id)


def _once_more(run: dg.DagsterRun) -> dg.RunRequest:
    """Ask for the assets and the batch of a run, outside its backfill; like a retry, it names that run."""
    lineage = {_PARENT_TAG: run.run_id, _ROOT_TAG: run.root_run_id or run.run_id}
    return dg.RunRequest(
        run_key=f"again-{run.run_id}",
        partition_key=run.tags[PARTITION_TAG],
        asset_selection=sorted(run.asset_selection) if run.asset_selection else None,
        tags={name: value for name, value in run.tags.items() if name == AUTOMATION_TAG} | lineage,
    )


def _give_up(instance: dg.DagsterInstance, run_id: str) -> None:
    """Let a backfill go on without the retry; the next one takes up its work."""
    instance.add_run_tags(run_id, {_WILL_RETRY_TAG: "false"})
