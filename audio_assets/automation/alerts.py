"""Telling somebody: a run has failed, work is given up, a model is missing, or the tables lag behind.

Off unless a command or a webhook is configured. An alert that cannot be delivered is an error of the
sensor's tick, where it can be seen; the address of the webhook, which may hold a secret, is never logged.
"""

import http.client
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

import dagster as dg

from audio_assets.attempts import Attempts
from audio_assets.automation.backfills import PARTITION_TAG, extent, plan
from audio_assets.automation.settings import AutomationSettings
from audio_assets.builds import LIBRARY_SIGNATURE, MANIFEST, approved_metadata, due
from audio_assets.library import ManifestError
from resources.clap_model import ClapModel
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

_TIMEOUT_S = 10.0
#: To find out what is outstanding is the dearest look of all.
_LOOK_AT_WORK_EVERY_S = 600
_HOUR_S = 3600.0
_REPEAT_S = 24 * _HOUR_S
_MESSAGE_LENGTH = 2000


class AlertError(Exception):
    """An alert could not be delivered."""


def alert_sensors(settings: AutomationSettings) -> list[dg.SensorDefinition]:
    """Make the alerting sensors; none where nobody is to be told."""
    if not settings.alert_command and not settings.alert_webhook:
        return []
    return [_run_failed(settings), _work_stuck(settings), _tables_overdue(settings)]


def deliver(settings: AutomationSettings, alert: Mapping[str, str]) -> None:
    """Hand an alert to the configured command and webhook.

    Parameters
    ----------
    settings : AutomationSettings
        Where to.
    alert : mapping of str to str
        ``event``, ``message`` and whatever else there is to say.

    Raises
    ------
    AlertError
        One of them failed. The other has been tried all the same.
    """
    body = json.dumps(dict(alert)).encode()
    problems = []
    for send in (_run_command, _post):
        try:
            send(settings, body)
        except AlertError as error:
            problems.append(str(error))
    if problems:
        raise AlertError("; ".join(problems))


def _run_command(settings: AutomationSettings, body: bytes) -> None:
    if not (command := settings.alert_command):
        return
    try:
        # The command is the server's own configuration, run without a shell.
        done = subprocess.run(command, input=body, capture_output=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AlertError(f"the alert command did not run: {type(error).__name__}") from None
    if done.returncode:
        raise AlertError(f"the alert command ended with {done.returncode}")


def _post(settings: AutomationSettings, body: bytes) -> None:
    if not (address := settings.alert_webhook):
        return
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(address, body, headers, method="POST")  # noqa: S310 - checked
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        raise AlertError(f"the webhook answered {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:  # its text may quote the address
        raise AlertError(f"the webhook could not be reached: {type(error).__name__}") from None


def _run_failed(settings: AutomationSettings) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="alert_on_failed_run",
        default_status=settings.sensor_status,
        monitor_all_code_locations=False,
        description="Calls the configured command or webhook when a run has failed.",
    )
    def alert_on_failed_run(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        deliver(
            settings,
            {
                "event": "run_failed",
                "job": run.job_name,
                "run_id": run.run_id,
                "partition": run.tags.get(PARTITION_TAG, ""),
                "message": context.failure_event.message[:_MESSAGE_LENGTH]
                if context.failure_event.message
                else "",
            },
        )

    return alert_on_failed_run


def _work_stuck(settings: AutomationSettings) -> dg.SensorDefinition:
    @dg.sensor(
        minimum_interval_seconds=max(_LOOK_AT_WORK_EVERY_S, settings.interval_s),
        default_status=settings.sensor_status,
        description="Calls the configured command or webhook when work waits for somebody's help.",
    )
    def alert_on_stuck_work(
        context: dg.SensorEvaluationContext, warehouse: Warehouse, clap_model: ClapModel
    ) -> dg.SkipReason:
        attempts = Attempts(warehouse.path, settings.most_attempts)
        planned = plan(context.instance, warehouse, clap_model, attempts, "")
        now_s = time.time()
        told = json.loads(context.cursor) if context.cursor else {}
        stuck = {}
        if planned.model_problem:
            stuck["model_missing"] = f"embeddings are not made: {planned.model_problem}"
        if planned.given_up:
            stuck["work_given_up"] = f"given up, until 'audio-assets retry': {extent(planned.given_up)}"
        for event, message in stuck.items():
            if abs(now_s - told.get(event, 0.0)) >= _REPEAT_S:
                deliver(settings, {"event": event, "message": message})
                told[event] = now_s
        # What is mended is told of at once when it happens again.
        context.update_cursor(json.dumps({event: told[event] for event in stuck}))
        return dg.SkipReason("; ".join(stuck.values()) or "No work is stuck.")

    return alert_on_stuck_work


def _tables_overdue(settings: AutomationSettings) -> dg.SensorDefinition:
    @dg.sensor(
        minimum_interval_seconds=max(60, settings.interval_s),
        default_status=settings.sensor_status,
        description="Calls the configured command or webhook when tables have lagged behind for too long.",
    )
    def alert_on_overdue_tables(
        context: dg.SensorEvaluationContext, library: TrackLibrary, warehouse: Warehouse
    ) -> dg.SkipReason:
        behind = [MANIFEST] * _has_changed(context.instance, library, settings) + due(
            context.instance, warehouse
        )
        if not behind:
            context.update_cursor("")
            return dg.SkipReason("All tables are up to date with the library.")
        now_s = time.time()
        state = json.loads(context.cursor) if context.cursor else {"since_s": now_s, "told_s": 0.0}
        state["since_s"] = min(state["since_s"], now_s)  # or a clock that was ahead would keep it silent
        lag_s = now_s - state["since_s"]
        if lag_s >= settings.overdue_h * _HOUR_S and abs(now_s - state["told_s"]) >= _REPEAT_S:
            message = f"behind the library for {lag_s / _HOUR_S:.1f} h: {', '.join(behind)}"
            deliver(settings, {"event": "tables_overdue", "message": message})
            state["told_s"] = now_s
        context.update_cursor(json.dumps(state))
        return dg.SkipReason(f"Behind for {lag_s:.0f} s: {', '.join(behind)}.")

    return alert_on_overdue_tables


def _has_changed(instance: dg.DagsterInstance, library: TrackLibrary, settings: AutomationSettings) -> bool:
    """Whether the library is not as it was taken in; one that cannot be looked at is not."""
    try:
        listed = library.listing(settings.settle_s).signature
    except ManifestError:  # said by the tick of 'library_changes'; somebody has to be told all the same
        return True
    return listed != approved_metadata(instance, MANIFEST, LIBRARY_SIGNATURE)
