"""From 'nothing is computed yet' to runs in Dagster's queue, and runs as they are executed."""

import logging
import sys
import threading
import time
from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration

from audio_assets.attempts import Attempts
from audio_assets.automation.backfills import launch, plan
from audio_assets.pipeline import Pipeline, RunReport
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.progress import Progress
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse
from scale_cost.meter import Meter

_LOOK_EVERY_S = 2.0
BACKFILL = "scale"


def measure_launch(
    instance: dg.DagsterInstance, warehouse: Warehouse, model: ClapModel, meter: Meter
) -> None:
    """Measure what the schedule does: find all that is to be computed, and launch one backfill of it."""
    attempts = Attempts(warehouse.path, most=3)
    with meter.step("plan a backfill of everything"):
        planned = plan(instance, warehouse, model, attempts, BACKFILL)
    with meter.step("launch it"):
        launch(
            instance,
            planned.launched,
            attempts,
            backfill_id=BACKFILL,
            title="Scale",
            launched_by="benchmark",
        )


def measure_daemon(instance: dg.DagsterInstance, n_batches: int, meter: Meter, most_s: float) -> None:
    """Let the daemon's own code make runs of the backfill; it is cancelled after `most_s` seconds."""
    target = ModuleTarget("audio_assets.definitions", None, str(Path.cwd()), "audio_assets")
    with (
        WorkspaceProcessContext(instance, target) as workspace,
        meter.step("daemon: queue the runs") as found,
    ):
        found.update(_queue_runs(instance, workspace, n_batches, most_s))


def _queue_runs(
    instance: dg.DagsterInstance, workspace: WorkspaceProcessContext, n_batches: int, most_s: float
) -> dict[str, float]:
    """Let the daemon's own code work the backfill off; tell how fast runs came at first and at last."""
    logger = logging.getLogger("scale")
    logger.setLevel(logging.ERROR)
    seen: list[tuple[float, int]] = []
    ended, started = threading.Event(), time.monotonic()

    def watch() -> None:
        while not ended.wait(_LOOK_EVERY_S):
            n_runs = instance.get_runs_count()
            seen.append((time.monotonic() - started, n_runs))
            print(f"    {seen[-1][0]:.0f} s: {n_runs} runs", file=sys.stderr, flush=True)
            if seen[-1][0] > most_s:
                backfill = instance.get_backfill(BACKFILL)
                assert backfill is not None
                instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
                return

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        list(execute_backfill_iteration(workspace, logger))
    finally:
        ended.set()
        watching.join()
    n_runs = instance.get_runs_count()
    wall_s = time.monotonic() - started
    figures = {"runs_wanted": n_batches, "runs_queued": n_runs, "runs_per_s": n_runs / wall_s}
    begun = [(s, n) for s, n in seen if n]
    if len(begun) >= 8:
        quarter = len(begun) // 4
        figures["runs_per_s_first_quarter"] = _rate(begun[0], begun[quarter])
        figures["runs_per_s_last_quarter"] = _rate(begun[-1 - quarter], begun[-1])
        figures["s_to_first_run"] = begun[0][0]
    return figures


def _rate(first: tuple[float, int], last: tuple[float, int]) -> float:
    return (last[1] - first[1]) / (last[0] - first[0])


def measure_runs(
    instance: dg.DagsterInstance, warehouse: Warehouse, model: ClapModel, meter: Meter, batches: list[str]
) -> None:
    """Measure real runs of some batches, in this process, as ``audio-assets run`` does.

    The files of their tracks do not exist, so that every track ends at once in a recorded failure: what is
    left is what the platform takes for a batch.
    """
    library = warehouse.path / "library"
    library.mkdir(exist_ok=True)
    pipeline = Pipeline(
        library=TrackLibrary(root=str(library)),
        warehouse=warehouse,
        clap_model=model,
        analysis_pool=AnalysisPool(workers=1),
        progress=Progress(),
    )
    report = RunReport()
    first, *others = batches
    pipeline._execute(instance, report, "analyse_batch", first)  # loads and compiles
    with meter.step("run one batch, its tracks aside", times=len(others)):
        for batch in others:
            pipeline._execute(instance, report, "analyse_batch", batch)
    unexpected = [job for job in report.failed_jobs if "blocking" not in job]
    if unexpected:
        raise RuntimeError(unexpected[0])


def folder_of_definitions(data: Path, model: ClapModel) -> dict[str, str]:
    """Environment of the daemon's code server."""
    return {"AUDIO_ASSETS_DATA": str(data), "AUDIO_ASSETS_CLAP_MODEL": model.model_id}
