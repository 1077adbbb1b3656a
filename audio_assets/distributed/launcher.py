"""Dagster's Celery launcher, with a queue for each table and an eye on the workers."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from celery import states
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

from audio_assets.distributed.versions import versions_tag

#: So long a worker may take to say what it is at; on a machine that does nothing else it takes milliseconds.
_ANSWERS_WITHIN_S = 15.0


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
        super().__init__(**settings)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Describe what ``dagster.yaml`` may say."""
        return {**super().config_type(), "queues": dg.Field(dg.Map(str, str))}

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand a run to whichever worker of its queue is free first."""
        run = context.dagster_run
        computed = {key.to_user_string() for key in run.asset_selection or ()}
        queues = [queue for table, queue in self.queues.items() if table in computed]
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, [*queues, self.default_queue][0])
        tags = {DAGSTER_CELERY_QUEUE_TAG: queue, **versions_tag()}
        self._instance.add_run_tags(run.run_id, tags)
        super().launch_run(context._replace(dagster_run=run.with_tags(tags)))

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Ask the worker itself: of one that was killed, or lost its database, Celery has no news.

        Dagster looks once more whether the run has ended meanwhile before it acts on the answer.
        """
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task_id is None:  # a command executes it, and the sensor 'runs_without_process' looks after it
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        task = self.celery.backend.get_task_meta(task_id)
        if task["status"] != states.STARTED:
            why = f"its task has ended, or was lost ({task['status']})"
        elif not self._is_at_work(worker := task["result"]["hostname"], task_id):
            why = f"worker {worker} does not answer, or does not know of it"
        else:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"nobody executes the run: {why}")

    def _is_at_work(self, worker: str, task_id: str) -> bool:
        question = self.celery.control.inspect(destination=[worker], timeout=_ANSWERS_WITHIN_S)
        answers = question.query_task(task_id) or {}
        return task_id in answers.get(worker, {})
