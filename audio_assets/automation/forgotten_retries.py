"""Retries that Dagster promised and then forgot, or does not want to make any more.

Dagster's daemon learns of a failure by its event, and looks at the run once (1.13.27). An event is stored
before the run's status, so a look in between finds a run that has not failed, and there is no second one. The
run stays "to be retried", its backfill never ends, and nothing is rebuilt meanwhile: Dagster is shown the
failure again.

Or the backfill is over by then, as failed: by a look in between, or since Dagster could not go on with it, as
on a full disk. Of such a backfill Dagster retries nothing, so the run is made from here, outside of it.
"""

import json
import time

import dagster as dg

from audio_assets.automation.backfills import (
    AUTOMATION_TAG,
    PARTITION_TAG,
    ended_by_failures,
    unfinished_targets,
)
from audio_assets.automation.jobs import analyse_batch

#: What Dagster does not want to retry it marks nowhere.
_GIVEN_UP_AFTER_S = 600.0
_RECENT_FAILURES = 500


def forgotten_retries(interval_s: int) -> dg.SensorDefinition:
    """Make the sensor that has such runs retried; always on, like the retries themselves."""

    @dg.sensor(
        job=analyse_batch,
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Has killed runs retried whose retry Dagster's daemon has forgotten, or refuses as their "
        "backfill is over.",
    )
    def retries_forgotten(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        instance = context.instance
        seen: dict[str, float] = json.loads(context.cursor) if context.cursor else {}
        now_s = time.time()
        waiting = _waiting(instance)
        context.update_cursor(json.dumps({run.run_id: seen.get(run.run_id, now_s) for run in waiting}))
        forgotten, given_up, requests = [], [], []
        for run in waiting:
            if run.run_id not in seen:  # most likely it has just failed
                continue
            is_old = abs(now_s - seen[run.run_id]) > _GIVEN_UP_AFTER_S
            is_left_over = _is_of_ended_backfill(instance, run)
            if is_old or run.remote_job_origin is None or (is_left_over and _is_taken_up(instance, run)):
                given_up.append(run.run_id)
            elif is_left_over:
                requests.append(_once_more(run, context.sensor_name))
            else:
                forgotten.append(run.run_id)
        if forgotten:
            have_retried(instance, forgotten)
        for run_id in given_up:
            _wait_no_more(instance, run_id)
        said = [f"Shown to Dagster again: {', '.join(forgotten)}."] * bool(forgotten)
        said += [f"Not waited for any more: {', '.join(given_up)}."] * bool(given_up)
        if requests:  # again at each tick until the runs are there, as what is asked for may not come to be
            return dg.SensorResult(requests)
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
_MOST_RETRIES_TAG = "dagster/max_retries"


def _waiting(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Find runs that failed and are to be retried, by a run that is not there yet."""
    to_be_retried = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={_WILL_RETRY_TAG: "true"})
    failed = instance.get_runs(to_be_retried, limit=_RECENT_FAILURES)
    return [run for run in failed if run.is_complete_and_waiting_to_retry]


def _is_of_ended_backfill(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    backfill_id = run.tags.get(_BACKFILL_TAG)
    return PARTITION_TAG in run.tags and backfill_id is not None and ended_by_failures(instance, backfill_id)


def _is_taken_up(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether there is a run in place of another, or somebody is to work on its batch anyway."""
    again = instance.get_runs(dg.RunsFilter(tags={_PARENT_TAG: run.run_id}), limit=1)
    return bool(again) or run.tags[PARTITION_TAG] in {batch for _, batch in unfinished_targets(instance)}


def _once_more(run: dg.DagsterRun, sensor_name: str) -> dg.RunRequest:
    """Ask for what a run was to do, outside its backfill, and without retries of its own.

    It is a retry in all but the fields by which Dagster knows one; what tells people is in its tags.
    """
    of_people = {n: v for n, v in run.tags.items() if not n.startswith(("dagster/", ".dagster/"))}
    lineage = {_PARENT_TAG: run.run_id, _ROOT_TAG: run.root_run_id or run.run_id}
    return dg.RunRequest(
        run_key=f"again-{run.run_id}",
        run_config=run.run_config,
        partition_key=run.tags[PARTITION_TAG],
        asset_selection=sorted(run.asset_selection) if run.asset_selection else None,
        tags={**of_people, AUTOMATION_TAG: sensor_name, **lineage, _MOST_RETRIES_TAG: "0"},
    )


def _wait_no_more(instance: dg.DagsterInstance, run_id: str) -> None:
    """Let a backfill go on without the retry of a run."""
    instance.add_run_tags(run_id, {_WILL_RETRY_TAG: "false"})
