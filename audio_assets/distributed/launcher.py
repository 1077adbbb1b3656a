"""Dagster's Celery launcher, with a queue for each table and an ear for the workers."""

import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
from celery import states
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

from audio_assets.distributed.versions import versions_tag

#: So long nothing new may be heard of a task; workers tell every five seconds.
_SILENT_S = 60.0
_ASK_BROKER_EVERY_S = 5


class QueueRunLauncher(CeleryRunLauncher):  # type: ignore[misc]
    """Launches runs as Celery tasks.

    Parameters
    ----------
    queues : mapping of str to str
        Queue by table. A run goes to the queue of the first table named here that it computes, and to
        ``default_queue`` if it computes none. Who launches a run may name another by the tag
        ``dagster-celery/queue``.
    **settings
        Those of dagster-celery's launcher.
    """

    def __init__(self, queues: Mapping[str, str], **settings: Any) -> None:
        self.queues = dict(queues)
        self._heard: dict[str, tuple[str, float]] = {}
        super().__init__(**settings)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Describe what ``dagster.yaml`` may say."""
        return {**super().config_type(), "queues": dg.Field(dg.Map(str, str))}

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand a run to whichever worker of its queue is free first; wait for the broker while it is away."""
        with self.celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=None, interval_max=_ASK_BROKER_EVERY_S)
        run = context.dagster_run
        computed = {key.to_user_string() for key in run.asset_selection or ()}
        queues = [queue for table, queue in self.queues.items() if table in computed]
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, [*queues, self.default_queue][0])
        # A retry has the task of the run before among its tags, until it has one of its own.
        tags = {DAGSTER_CELERY_QUEUE_TAG: queue, DAGSTER_CELERY_TASK_ID_TAG: "", **versions_tag()}
        self._instance.add_run_tags(run.run_id, tags)
        super().launch_run(context._replace(dagster_run=run.with_tags(tags)))

    def terminate(self, run_id: str) -> bool:
        """Cancel a run; one that a command executes cannot be reached from here."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or not run.tags.get(DAGSTER_CELERY_TASK_ID_TAG):
            return False
        # Without it the run would fail in the end, and be retried.
        self._instance.report_run_canceling(run)
        return bool(super().terminate(run_id))

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """See whether the task of a run is still heard of: of a worker that is gone Celery has no news.

        Dagster looks once more whether the run has ended meanwhile before it acts on the answer.
        """
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if not task_id:  # it is being launched; or a command executes it, and 'runs_without_process' looks on
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            task = self.celery.backend.get_task_meta(task_id)
        except Exception:
            self._heard.clear()  # silence counts only while it can be listened for
            raise
        if task["status"] in states.READY_STATES:
            why = f"its task has ended ({task['status']})"
        elif (silent_s := self._silent_s(task_id, f"{task['status']} {task['result']}")) > _SILENT_S:
            why = f"its worker has not been heard of for {silent_s:.0f} s"
        else:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        self._heard.pop(task_id, None)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"nobody executes the run: {why}")

    def _silent_s(self, task_id: str, said: str) -> float:
        """Time since a task has said something new, by this machine's clock alone."""
        now_s = time.monotonic()
        known, since_s = self._heard.get(task_id, ("", now_s))
        self._heard[task_id] = (said, since_s if said == known else now_s)
        return now_s - self._heard[task_id][1]
