"""The application of the workers: ``celery --app audio_assets.distributed.worker worker``.

Its broker is that of the launcher in ``dagster.yaml``, so there is one place to say it. With ``--concurrency
1`` a worker has one child process, which executes one run after the other and keeps what they load.
"""

from multiprocessing.process import AuthenticationString, current_process  # type: ignore[attr-defined]
from typing import Any

import dagster as dg
from celery import Celery, Task
from celery.signals import worker_process_init
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster_celery.tasks import create_execute_job_task
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import DBAPIError

from audio_assets.distributed.launcher import QueueRunLauncher
from audio_assets.distributed.versions import WorkerVersionError, refuse_other_versions

_RETRY_AFTER_S = 10


class LauncherError(Exception):
    """``dagster.yaml`` names no launcher that hands runs to workers."""


class RunTask(Task):  # type: ignore[misc]
    """Executes a run, if this worker makes rows of the versions that it is to have."""

    #: As often as the database is away; Celery's default is three times.
    max_retries = None

    def __call__(self, execute_job_args_packed: Any) -> Any:
        """Execute; a worker that may not ends itself, so that its service manager starts the code of now."""
        args = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs)
        try:
            self._check(args.run_id)
            return super().__call__(execute_job_args_packed)
        except WorkerVersionError:
            self.app.control.shutdown(destination=[self.request.hostname])
            raise
        except (DagsterPostgresException, DBAPIError) as error:
            # A run that had begun is not begun again: Dagster ignores it, and its monitor ends it.
            raise self.retry(exc=error, countdown=_RETRY_AFTER_S) from error

    def _check(self, run_id: str) -> None:
        with dg.DagsterInstance.get() as instance:
            run = instance.get_run_by_id(run_id)
            assert run is not None
            try:
                refuse_other_versions(run.tags)
            except WorkerVersionError as error:
                instance.report_run_failed(run, f"{type(error).__name__}: {error}")
                raise


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _may_have_children(**_: Any) -> None:
    """Let the child start processes of its own, which analyse the tracks and die with it by themselves.

    To Python's multiprocessing Celery makes its children known as daemonic, and with a key of a class of its
    own, which is not passed on.
    """
    current = current_process()
    current.daemon = False
    current._config["authkey"] = AuthenticationString(current.authkey)  # type: ignore[attr-defined]


def _app() -> Celery:
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
        if not isinstance(launcher, QueueRunLauncher):
            raise LauncherError("run_launcher in dagster.yaml has to be as in deploy/celery/dagster.yaml")
        return launcher.celery


app = _app()
create_execute_job_task(app, base=RunTask)
