"""Runs that nobody executes any more, such as after a power cut.

Dagster notices a run worker that died under a living daemon. When all processes die at once, nobody is left
who could be asked about the run, and it counts as started until its time is up: it would hold its pool, and
nothing would be analysed for a day.
"""

import json
import socket
import time

import dagster as dg

from audio_assets.warehouse import is_alive, is_dead, owner_tag

#: On runs of the command line: which process executes them.
PROCESS_TAG = "audio-assets/process"

_SERVER_TAG = ".dagster/grpc_info"
_WORKER_TAG = "dagster-celery/task_id"
_UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_BEING_LAUNCHED = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
_CONNECT_TIMEOUT_S = 5.0
_LAUNCHED_WITHIN_S = 600.0


def lost_runs(interval_s: int) -> dg.SensorDefinition:
    """Make the sensor that ends such runs; always on, since what is launched by hand waits for them too."""

    @dg.sensor(
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends runs whose processes are gone, such as after a power cut.",
    )
    def runs_without_process(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        lost = end_lost_runs(context.instance)
        return dg.SkipReason(f"Ended: {', '.join(lost)}" if lost else "No run is without its process.")

    return runs_without_process


def end_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark such runs as failed, whose work is then outstanding again; give their ids."""
    under_way = dg.RunsFilter(statuses=_UNDER_WAY)
    records = instance.get_run_records(under_way)
    without = [record.dagster_run.run_id for record in records if _is_lost(instance, record, time.time())]
    # Once more, as one that ended in order has said so with its last breath.
    lost = [run for run in instance.get_runs(under_way) if run.run_id in without]
    for run in lost:
        instance.report_run_failed(run, "the processes that executed this run are gone")
    return [run.run_id for run in lost]


def _is_lost(instance: dg.DagsterInstance, record: dg.RunRecord, now_s: float) -> bool:
    """Whether a run's process is gone, or the daemon was before it had launched the run it made."""
    run = record.dagster_run
    if run.status not in _BEING_LAUNCHED or PROCESS_TAG in run.tags:
        return not has_process(instance, run)
    # Until it is launched, a retry has the tags of the run before, whose server may be gone. A launch takes
    # seconds at most: too short for a clock to jump in between.
    is_old = abs(now_s - record.update_timestamp.timestamp()) > _LAUNCHED_WITHIN_S
    return is_old and (run.status == dg.DagsterRunStatus.NOT_STARTED or not has_process(instance, run))


def this_process() -> dict[str, str]:
    """Tag by which it can be told later whether this process still runs."""
    return {PROCESS_TAG: owner_tag()}


def has_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run is executed by a process that can be reached, as far as this machine can tell."""
    if run.tags.get(_WORKER_TAG) and hasattr(instance.run_launcher, "queues"):
        return True  # maybe of another machine; the launcher looks after it
    # The server first: a run that is executed again from the UI has the tags of the one before.
    if PROCESS_TAG in run.tags and _SERVER_TAG not in run.tags:
        return not is_dead(run.tags[PROCESS_TAG])
    server = json.loads(run.tags.get(_SERVER_TAG, "{}"))
    return "socket" not in server or (_answers(server["socket"]) and _worker_lives(instance, run))


def _worker_lives(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process lives that the server started for a run; true before it has said which one it is.

    The server sees to that as well, until it cannot record it, such as on a full disk: then it stops looking.
    """
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    events = [record.event_log_entry.dagster_event for record in records]
    pids = [
        e.engine_event_data.metadata["pid"].value
        for e in events
        if e and "pid" in e.engine_event_data.metadata
    ]
    return not pids or is_alive(int(str(pids[-1])))


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_TIMEOUT_S)
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:  # busy, or not ours to reach: that says nothing
            return True
        return True
