"""The code location of the recovery tests: the product's, with gates where a run can be caught in the act.

A gate is shut by making its file. Who reaches a shut gate says so in a file beside it, and waits.
"""

import importlib
import os
import time
from pathlib import Path

import dagster as dg

from audio_assets.automation.jobs import maintenance, rebuild_tables
from audio_assets.definitions import build_defs
from audio_assets.warehouse.journal import JournalWriter
from resources.analysis_pool import AnalysisPool

GATES = Path(os.environ["RECOVERY_GATES"])


def pass_gate(name: str) -> None:
    gate = GATES / name
    if gate.exists():
        (GATES / f"{name}.reached-{os.getpid()}").touch()
        while gate.exists():
            time.sleep(0.05)


def with_gate(name: str, function):
    def gated(*arguments, **options):
        pass_gate(name)
        return function(*arguments, **options)

    return gated


def gated_append(writer: JournalWriter, row: dict) -> None:
    """Stand still in mid-batch: once two rows are safe on disk."""
    append(writer, row)
    writer.appended = getattr(writer, "appended", 0) + 1
    if writer.appended == 2:
        pass_gate("batch")


append, JournalWriter.append = JournalWriter.append, gated_append
publishing = importlib.import_module("audio_assets.warehouse.publish")
publishing._refuse_bad_numbers = with_gate("publication", publishing._refuse_bad_numbers)
sweeping = importlib.import_module("audio_assets.warehouse.sweep")
sweeping.drop_old_generations = with_gate("sweep", sweeping.drop_old_generations)


@dg.sensor(
    jobs=[maintenance, rebuild_tables],
    minimum_interval_seconds=2,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def on_request(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Launch the job that a test has named in a file."""
    wanted = GATES / "launch"
    if not wanted.exists():
        return dg.SkipReason("Nothing is asked for.")
    name = wanted.read_text()
    wanted.unlink()
    return dg.RunRequest(job_name=name)


# Tracks of a second take hundredths of one; who takes this long hangs, on a busy machine too.
POOL = AnalysisPool(workers=2, track_timeout_s=30, track_memory_mb=2000)
defs = dg.Definitions.merge(build_defs(analysis_pool=POOL), dg.Definitions(sensors=[on_request]))
