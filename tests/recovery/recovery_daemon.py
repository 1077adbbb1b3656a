"""The product's daemon, that looks every other second where it would look every five or thirty.

It can be told to forget a retry, as Dagster does when it reads of a failure before the run's status says so.
"""

import os
from pathlib import Path

from dagster import DagsterRunStatus
from dagster._daemon import controller, sensor
from dagster._daemon.auto_run_reexecution import event_log_consumer

from audio_assets.daemon import main

sensor.MIN_INTERVAL_LOOP_TIME = 2
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 2
controller.RELOAD_WORKSPACE_INTERVAL = 5

FORGET = Path(os.environ["RECOVERY_GATES"]) / "forget"
retry_all = event_log_consumer.consume_new_runs_for_automatic_reexecution


def retry_unless_to_be_forgotten(context, records, logger):
    failed = any(record.dagster_run.status == DagsterRunStatus.FAILURE for record in records)
    if failed and FORGET.exists():
        FORGET.unlink()
    else:
        yield from retry_all(context, records, logger)


event_log_consumer.consume_new_runs_for_automatic_reexecution = retry_unless_to_be_forgotten

if __name__ == "__main__":
    main()
