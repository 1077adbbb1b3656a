"""Running the assets from the command line: the same jobs, the same Dagster instance as the UI.

What belongs here: which jobs run for which batches, in what order. What does not: how results are shown
(``cli``) or computed (the assets).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import dagster as dg

from audio_assets.assets import embedding_projection
from audio_assets.automation.backfills import daemon_runs, targets_of_others
from audio_assets.automation.lost_runs import end_lost_runs, this_process
from audio_assets.builds import FEATURES, RETRIEVAL, due
from audio_assets.definitions import build_defs
from audio_assets.gate import BATCHED, describe, unproven
from audio_assets.outstanding import Work, outstanding
from audio_assets.warehouse import atomic_path
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.progress import Progress
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

# The run's own log is in Dagster's storage; on the terminal only errors would be news.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

_INTERRUPTED = "DagsterExecutionInterruptedError"


@dataclass
class RunReport:
    """What a run of the pipeline did.

    Parameters
    ----------
    failed_jobs : list of str
        Jobs that did not succeed, with their reason.
    failed_checks : list of dagster.AssetCheckEvaluation
        Checks that did not pass, warnings included.
    passed_checks : int
        Checks that passed.
    left_to_others : set of str
        Batches that a backfill or another run is to compute, and so were not computed here.
    """

    failed_jobs: list[str] = field(default_factory=list)
    failed_checks: list[dg.AssetCheckEvaluation] = field(default_factory=list)
    passed_checks: int = 0
    left_to_others: set[str] = field(default_factory=set)

    @property
    def errors(self) -> list[dg.AssetCheckEvaluation]:
        """Checks that did not pass and are more than a warning."""
        return [check for check in self.failed_checks if check.severity == dg.AssetCheckSeverity.ERROR]

    @property
    def succeeded(self) -> bool:
        """Whether all that ran succeeded, warnings aside."""
        return not self.failed_jobs and not self.errors


def dagster_home(data_dir: Path) -> Path:
    """Folder of the Dagster instance of a data folder; made, with our settings, where missing."""
    home = data_dir / "dagster"
    settings = home / "dagster.yaml"
    if not settings.exists():
        shipped = resources.files("audio_assets").joinpath("dagster.yaml").read_bytes()
        with atomic_path(settings) as temporary:  # half of them would be taken for all, for ever
            temporary.write_bytes(shipped)
    return home


@contextmanager
def open_instance(data_dir: Path) -> Iterator[dg.DagsterInstance]:
    """Open the Dagster instance of a data folder, the one that the UI shows."""
    with dg.DagsterInstance.from_config(str(dagster_home(data_dir))) as instance:
        yield instance


def lay_out(instance: dg.DagsterInstance, warehouse: Warehouse) -> None:
    """Make the projection that a map is drawn from, which no job makes; what it raises is raised."""
    dg.materialize(
        [embedding_projection], instance=instance, resources={"warehouse": warehouse}, run_config=_QUIET
    )


class Pipeline:
    """The jobs over one data folder.

    Parameters
    ----------
    library, warehouse, clap_model, analysis_pool, progress
        Resources to run with.
    """

    def __init__(
        self,
        *,
        library: TrackLibrary,
        warehouse: Warehouse,
        clap_model: ClapModel,
        analysis_pool: AnalysisPool,
        progress: Progress,
    ) -> None:
        self._warehouse = warehouse
        self._clap_model = clap_model
        self._defs = build_defs(
            library=library,
            warehouse=warehouse,
            clap_model=clap_model,
            analysis_pool=analysis_pool,
            progress=progress,
        )

    def run(
        self,
        instance: dg.DagsterInstance,
        wanted: Callable[[Work], bool] = lambda _: True,
        anew: Mapping[tuple[str, str], Sequence[str]] = MappingProxyType({}),
    ) -> RunReport:
        """Bring everything up to date: what is new or changed, and then what is built of it.

        A batch or a model that fails does not keep the rest from being computed. But nothing is published
        while a batch on record has failed a blocking check: its rows would be among the others.

        Parameters
        ----------
        instance : DagsterInstance
            Where runs are recorded.
        wanted : callable
            Which of the work is to be done.
        anew : mapping of (str, str) to sequence of str
            Tracks to compute although their results stand, by table and batch.

        Returns
        -------
        RunReport
            What happened.
        """
        report = RunReport()
        # A daemon that runs sees to that itself, and its sockets may not be visible from here (PrivateTmp).
        if not daemon_runs(instance, time.time()):
            end_lost_runs(instance)
        if not self._execute(instance, report, "refresh_manifest"):
            return report
        for batch, pending in self.pending(instance, report, wanted, anew):
            tables = _not_left(instance, report, batch, pending)
            config = {table: {"config": {"anew": list(anew.get((table, batch), ()))}} for table in tables}
            if tables:
                self._execute(instance, report, "analyse_batch", batch, tables, config)
        self._rebuild(instance, report)
        return report

    def pending(
        self,
        instance: dg.DagsterInstance,
        report: RunReport,
        wanted: Callable[[Work], bool],
        anew: Iterable[tuple[str, str]],
    ) -> list[tuple[str, list[str]]]:
        """Batches with something to compute, and for which tables; without a usable model, only features."""
        found = outstanding(instance, self._warehouse, self._clap_model)
        tables = (FEATURES,) if found.model_problem else BATCHED
        if found.model_problem:
            report.failed_jobs.append(f"no embeddings were made: {found.model_problem}")
        targets = {*anew, *((item.table, item.batch) for item in found.work if wanted(item))}
        by_batch = {
            batch: [table for table in tables if (table, batch) in targets]
            for batch in sorted({batch for _, batch in targets})
        }
        return [(batch, chosen) for batch, chosen in by_batch.items() if chosen]

    def _rebuild(self, instance: dg.DagsterInstance, report: RunReport) -> None:
        """Build what is made of all tracks: first the index; tables are not published beside a bad one."""
        self._warehouse.refresh(patiently=True)
        if parts := unproven(instance, self._warehouse.record):
            # Of what others compute, the checks are still to come; that is no failure.
            if failed := {part for part in parts if part[1] not in report.left_to_others}:
                report.failed_jobs.append(f"tables were not rebuilt: {describe(failed)}")
            return
        retrieval = [asset for asset in due(instance, self._warehouse) if asset in RETRIEVAL]
        n_failed = len(report.errors)
        if retrieval and not self._execute(instance, report, "rebuild_tables", None, retrieval):
            return
        publication = [asset for asset in due(instance, self._warehouse) if asset not in RETRIEVAL]
        if publication and len(report.errors) == n_failed:
            self._execute(instance, report, "rebuild_tables", None, publication)

    def _execute(
        self,
        instance: dg.DagsterInstance,
        report: RunReport,
        job_name: str,
        partition_key: str | None = None,
        assets: Sequence[str] = (),
        config: Mapping[str, object] = MappingProxyType({}),
    ) -> bool:
        job = self._defs.resolve_job_def(job_name)
        result = job.execute_in_process(
            instance=instance,
            partition_key=partition_key,
            asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
            run_config={**_QUIET, "ops": dict(config)},
            tags=this_process(),
            raise_on_error=False,
        )
        # Dagster makes a failed run of Ctrl-C; for the person who pressed it, it is the end of everything.
        if not result.success and _INTERRUPTED in _reason(result):
            raise KeyboardInterrupt
        for evaluation in result.get_asset_check_evaluations():
            if evaluation.passed:
                report.passed_checks += 1
            else:
                report.failed_checks.append(evaluation)
        if not result.success:
            where = f"{job_name} {partition_key}" if partition_key else job_name
            report.failed_jobs.append(f"{where}: {_reason(result)}")
        return bool(result.success)


def _not_left(
    instance: dg.DagsterInstance, report: RunReport, batch: str, tables: Sequence[str]
) -> list[str]:
    """Tables of a batch that nobody else computes; asked of each, as a run of many may take days."""
    others = targets_of_others(instance, time.time())
    if any((table, batch) in others for table in tables):
        report.left_to_others.add(batch)
    return [table for table in tables if (table, batch) not in others]


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return error.message.strip()
    return "a blocking check failed" if result.get_failed_step_keys() else "the run failed"
