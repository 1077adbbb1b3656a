"""Runs that nobody executes any more, such as after a power cut.

Dagster notices a run worker that died under a living daemon. When all processes die at once, nobody is left
who could be asked about the run, and it counts as started until its time is up: it would hold its pool, and
nothing would be analysed for a day.
"""

import json
import os
import platform
import socket
from pathlib import Path

import dagster as dg

from audio_assets.automation.settings import AutomationSettings

#: On runs of the command line: which process executes them.
PROCESS_TAG = "audio-assets/process"

_SERVER_TAG = ".dagster/grpc_info"
_EXECUTING = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_CONNECT_TIMEOUT_S = 5.0


def lost_runs(settings: AutomationSettings) -> dg.SensorDefinition:
    """Make the sensor that ends such runs as failed; their work is then outstanding again."""

    @dg.sensor(
        minimum_interval_seconds=settings.interval_s,
        default_status=settings.sensor_status,
        description="Ends runs whose processes are gone, such as after a power cut.",
    )
    def runs_without_process(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        instance = context.instance
        lost = [run for run in instance.get_runs(dg.RunsFilter(statuses=_EXECUTING)) if not has_process(run)]
        for run in lost:
            instance.report_run_failed(run, "the processes that executed this run are gone")
        return dg.SkipReason(f"Ended: {', '.join(run.run_id for run in lost)}" if lost else "None.")

    return runs_without_process


def this_process() -> dict[str, str]:
    """Tag by which it can be told later whether this process still runs."""
    return {PROCESS_TAG: f"{os.getpid()}@{platform.node()}"}


def has_process(run: dg.DagsterRun) -> bool:
    """Whether a run is executed by a process that can be reached, as far as this machine can tell."""
    if PROCESS_TAG in run.tags:
        pid, _, host = run.tags[PROCESS_TAG].partition("@")
        return host != platform.node() or Path(f"/proc/{pid}").exists() or not Path("/proc/self").exists()
    server = json.loads(run.tags.get(_SERVER_TAG, "{}"))
    return "socket" not in server or _answers(server["socket"])


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
