"""Running the assets from the command line: the same jobs, the same Dagster instance as the UI.

What belongs here: which jobs run for which batches, in what order. What does not: how results are shown
(``cli``) or computed (the assets).
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import dagster as dg

from audio_assets.assets.features import FEATURE_VERSION
from audio_assets.definitions import build_defs
from audio_assets.embeddings import ModelError
from audio_assets.library import Entry
from audio_assets.warehouse import fingerprint, is_current, mark_current, pending
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.progress import Progress
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

# The run's own log is in Dagster's storage; on the terminal only errors would be news.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

_RETRIEVAL_INPUTS = ("track_manifest", "clap_embeddings")
_ALL_TABLES = ("*",)
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
    failed_builds : list of str
        Jobs over the whole collection that failed, or one of whose checks did.
    """

    failed_jobs: list[str] = field(default_factory=list)
    failed_checks: list[dg.AssetCheckEvaluation] = field(default_factory=list)
    passed_checks: int = 0
    failed_builds: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[dg.AssetCheckEvaluation]:
        """Checks that did not pass and are more than a warning."""
        return [check for check in self.failed_checks if check.severity == dg.AssetCheckSeverity.ERROR]

    @property
    def succeeded(self) -> bool:
        """Whether all that ran succeeded, warnings aside."""
        return not self.failed_jobs and not self.errors


@dataclass(frozen=True)
class Work:
    """Tracks of one batch that have no row yet that is still true."""

    batch: str
    features: list[Entry]
    embeddings: list[Entry]


def dagster_home(data_dir: Path) -> Path:
    """Folder of the Dagster instance of a data folder; made, with our settings, where missing."""
    home = data_dir / "dagster"
    settings = home / "dagster.yaml"
    if not settings.exists():
        home.mkdir(parents=True, exist_ok=True)
        with resources.as_file(resources.files("audio_assets") / "dagster.yaml") as shipped:
            shutil.copyfile(shipped, settings)
    return home


@contextmanager
def open_instance(data_dir: Path) -> Iterator[dg.DagsterInstance]:
    """Open the Dagster instance of a data folder, the one that the UI shows."""
    with dg.DagsterInstance.from_config(str(dagster_home(data_dir))) as instance:
        yield instance


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

    def run(self, instance: dg.DagsterInstance) -> RunReport:
        """Bring everything up to date: what is new or changed, and then what is built of it.

        A batch or a model that fails does not keep the rest from being computed and published.

        Parameters
        ----------
        instance : DagsterInstance
            Where runs are recorded.

        Returns
        -------
        RunReport
            What happened.
        """
        report = RunReport()
        if not self._execute(instance, report, "refresh_manifest"):
            return report
        for work in self.pending(report):
            keys = [
                *([dg.AssetKey("audio_features")] if work.features else []),
                *([dg.AssetKey("clap_embeddings")] if work.embeddings else []),
            ]
            self._execute(instance, report, "analyse_batch", work.batch, keys)
        if self._warehouse.record.batches("clap_embeddings"):
            self._build(instance, report, "rebuild_retrieval", _RETRIEVAL_INPUTS)
        if "rebuild_retrieval" not in report.failed_builds:
            self._build(instance, report, "publish_tables", _ALL_TABLES)
        return report

    def _build(
        self, instance: dg.DagsterInstance, report: RunReport, job_name: str, tables: Sequence[str]
    ) -> None:
        """Run a job over the whole collection, unless it succeeded on the very same inputs before."""
        data_dir = self._warehouse.path
        inputs = fingerprint(self._warehouse.record.root, tables)
        if is_current(data_dir, job_name, inputs):
            return
        n_failed = len(report.errors)
        if not self._execute(instance, report, job_name) or len(report.errors) > n_failed:
            report.failed_builds.append(job_name)
        else:
            mark_current(data_dir, job_name, inputs)

    def pending(self, report: RunReport) -> list[Work]:
        """Batches with something to compute; without a usable model, only their features."""
        record = self._warehouse.record
        embedding_version = self._embedding_version(report)
        by_batch: dict[str, list[Entry]] = {}
        for track in self._warehouse.live_tracks():
            assert track.batch is not None
            by_batch.setdefault(track.batch, []).append(track)
        found = []
        for batch, tracks in sorted(by_batch.items()):
            features = pending(record, "audio_features", batch, tracks, FEATURE_VERSION)
            embeddings = (
                pending(record, "clap_embeddings", batch, tracks, embedding_version)
                if embedding_version
                else []
            )
            if features or embeddings:
                found.append(Work(batch, features, embeddings))
        return found

    def _embedding_version(self, report: RunReport) -> tuple[str, str] | None:
        try:
            return "settings_version", self._clap_model.settings().version
        except ModelError as error:
            report.failed_jobs.append(f"no embeddings were made: {error}")
            return None

    def _execute(
        self,
        instance: dg.DagsterInstance,
        report: RunReport,
        job_name: str,
        partition_key: str | None = None,
        selection: Sequence[dg.AssetKey] | None = None,
    ) -> bool:
        job = self._defs.resolve_job_def(job_name)
        result = job.execute_in_process(
            instance=instance,
            partition_key=partition_key,
            asset_selection=selection,
            run_config=_QUIET,
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


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return error.message.strip()
    return "a blocking check failed" if result.get_failed_step_keys() else "the run failed"
