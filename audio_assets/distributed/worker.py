"""The application of the workers: ``celery --app audio_assets.distributed.worker worker``.

Its broker is that of the launcher in ``dagster.yaml``, so there is one place to say it. With ``--concurrency
1`` a worker has one child process, which executes one run after the other and keeps what they load.
"""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import AuthenticationString, current_process  # type: ignore[attr-defined]
from typing import Any

import dagster as dg
from celery import Celery, Task, states
from celery.exceptions import BackendError
from celery.signals import worker_process_init
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster_celery.tasks import create_execute_job_task
from dagster_postgres.utils import DagsterPostgresException
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from audio_assets.distributed.launcher import QueueRunLauncher
from audio_assets.distributed.versions import WorkerVersionError, refuse_other_versions

#: How often a task says that it is still executed.
HEARTBEAT_S = 5.0
_RETRY_AFTER_S = 10


class LauncherError(Exception):
    """``dagster.yaml`` names no launcher that hands runs to workers."""


class RunTask(Task):  # type: ignore[misc]
    """Executes a run, if this worker makes rows of the versions that it is to have."""

    #: As often as the database is away; Celery's default is three times.
    max_retries = None

    def __call__(self, execute_job_args_packed: Any) -> Any:
        """Execute; a worker that may not ends itself, lest it fails one run after the other."""
        args = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs)
        try:
            self._check(args.run_id)
            with _heartbeat(self):
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
            if run is None or run.is_finished:  # Dagster leaves it at that
                return
            tables = {key.to_user_string() for key in run.asset_selection or ()}
            try:
                refuse_other_versions(run.tags, tables)
            except WorkerVersionError as error:
                instance.report_run_failed(run, f"{type(error).__name__}: {error}")
                raise


@contextmanager
def _heartbeat(task: Task) -> Iterator[None]:
    """Let the launcher hear of a task while this process executes it, also while its worker shuts down."""
    done = threading.Event()
    task_id, hostname = task.request.id, task.request.hostname  # of this thread only

    def beat() -> None:
        for number in itertools.count():
            # The broker may be away: the next one tells.
            with suppress(OSError, OperationalError, BackendError, RedisError):
                said = {"hostname": hostname, "pid": os.getpid(), "heartbeat": number}
                task.backend.store_result(task_id, said, states.STARTED)
            if done.wait(HEARTBEAT_S):
                return

    beating = threading.Thread(target=beat, name="heartbeat", daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()


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
