"""Retries that Dagster promised and then forgot, or does not want to make any more.

Dagster's daemon learns of a failure by its event, and looks at the run once (1.13.27). An event is stored
before the run's status, so a look in between finds a run that has not failed, and there is no second one. The
run stays "to be retried", its backfill never ends, and nothing is rebuilt meanwhile: Dagster is shown the
failure again.

Or the backfill is over by then, as failed: by a look in between, or since Dagster could not go on with it, as
on a full disk. Of such a backfill Dagster retries nothing, so the run is made from here, outside of it.
"""

import json

import dagster as dg

from audio_assets.automation.backfills import (
    AUTOMATION_TAG,
    PARTITION_TAG,
    Ending,
    ending,
    unfinished_targets,
)
from audio_assets.automation.jobs import analyse_batch

#: What Dagster does not want to retry it marks nowhere.
_MOST_TICKS = 30
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
        known: dict[str, int] = json.loads(context.cursor) if context.cursor else {}
        waiting = _waiting(instance)
        # Ticks and not seconds: while this machine sleeps, or the disk is full, nobody retries anything.
        ticks = {run.run_id: known.get(run.run_id, 0) + 1 for run in waiting}
        context.update_cursor(json.dumps(ticks))
        seen = [run for run in waiting if run.run_id in known]  # the others have most likely just failed
        backfills = {run.tags[_BACKFILL_TAG] for run in seen if _BACKFILL_TAG in run.tags}
        endings = {backfill_id: ending(instance, backfill_id) for backfill_id in backfills}
        left_over, given_up, forgotten = [], [], []
        for run in seen:
            how = endings.get(run.tags.get(_BACKFILL_TAG, ""))
            is_hopeless = ticks[run.run_id] > _MOST_TICKS or run.remote_job_origin is None
            if is_hopeless or how is Ending.OTHERWISE or (how and _is_made(instance, run)):
                given_up.append(run.run_id)
            elif how is Ending.FAILED and PARTITION_TAG in run.tags:
                left_over.append(run)
            else:
                forgotten.append(run.run_id)
        if forgotten:
            have_retried(instance, forgotten)
        for run_id in given_up:
            _wait_no_more(instance, run_id)
        said = [f"Shown to Dagster again: {', '.join(forgotten)}."] * bool(forgotten)
        said += [f"Not waited for any more: {', '.join(given_up)}."] * bool(given_up)
        # Somebody who begins with a batch from now on may compute its tracks twice, which loses none.
        busy = {batch for _, batch in unfinished_targets(instance)} if left_over else set()
        free = [run for run in left_over if run.tags[PARTITION_TAG] not in busy]
        if free:  # again at each tick until the runs are there, as what is asked for may not come to be
            return dg.SensorResult([_once_more(run, context.sensor_name) for run in free])
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


# Where the daemon keeps how far it has read, and the marks by which it and a backfill know a retry. None is
# public.

_CURSOR = f"EVENT_LOG_CONSUMER_CURSOR-{dg.DagsterEventType.RUN_FAILURE.value}"
_WILL_RETRY_TAG = "dagster/will_retry"
_BACKFILL_TAG = "dagster/backfill"
_PARENT_TAG, _ROOT_TAG = "dagster/parent_run_id", "dagster/root_run_id"
_MOST_RETRIES_TAG = "dagster/max_retries"
_TAGS_OF_PEOPLE = ("dagster/priority", "dagster/max_runtime")


def _waiting(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Find runs that failed and are to be retried, by a run that is not there yet."""
    to_be_retried = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={_WILL_RETRY_TAG: "true"})
    failed = instance.get_runs(to_be_retried, limit=_RECENT_FAILURES)
    return [run for run in failed if run.is_complete_and_waiting_to_retry]


def _is_made(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether there is a run in place of another, made from here or by a person."""
    return bool(instance.get_runs(dg.RunsFilter(tags={_PARENT_TAG: run.run_id}), limit=1))


def _once_more(run: dg.DagsterRun, sensor_name: str) -> dg.RunRequest:
    """Ask for the assets and the batch of a run, outside its backfill, and without retries of its own."""
    of_people = {
        name: value
        for name, value in run.tags.items()
        if name in _TAGS_OF_PEOPLE or not name.startswith(("dagster/", ".dagster/"))
    }
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
