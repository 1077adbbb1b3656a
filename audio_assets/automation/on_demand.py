"""What the command line asks of the automation: a backfill now, and what is going on."""

import datetime as dt
import time

import dagster as dg

from audio_assets.attempts import Attempts
from audio_assets.automation.backfills import (
    Plan,
    daemon_runs,
    launch,
    launching,
    plan,
    unfinished_backfill_titles,
)
from audio_assets.automation.settings import AutomationSettings
from resources.clap_model import ClapModel
from resources.warehouse import Warehouse


class NoDaemonError(Exception):
    """Nothing would work a backfill off."""


def backfill_now(
    instance: dg.DagsterInstance, warehouse: Warehouse, clap_model: ClapModel, *, dry_run: bool
) -> tuple[Plan, list[str]]:
    """Launch a backfill of what is outstanding.

    Parameters
    ----------
    instance : DagsterInstance
        Of the data folder.
    warehouse, clap_model
        Decide what is outstanding.
    dry_run : bool
        Plan only.

    Returns
    -------
    tuple of Plan and list of str
        What was found, and the ids of the backfills that were launched.

    Raises
    ------
    NoDaemonError
        No daemon has been heard of lately.
    """
    now = dt.datetime.now(dt.UTC)
    backfill_id = f"on-demand-{now:%Y%m%d-%H%M%S}"
    attempts = Attempts(warehouse.path, AutomationSettings.from_environment().most_attempts)
    with launching(warehouse.path):
        planned = plan(instance, warehouse, clap_model, attempts, backfill_id)
        if dry_run or not planned.launched:
            return planned, []
        if not daemon_runs(instance, now.timestamp()):
            raise NoDaemonError(
                "no Dagster daemon runs over this data folder, so nobody would work the backfill off; start "
                "'audio-assets ui', or compute it in this terminal with 'audio-assets run'"
            )
        launched = launch(
            instance,
            planned.launched,
            attempts,
            backfill_id=backfill_id,
            title="Backfill on demand",
            launched_by="command-line",
        )
    return planned, launched


def activity(instance: dg.DagsterInstance) -> list[str]:
    """Say in lines whether a daemon runs, and which backfills are unfinished."""
    running = daemon_runs(instance, time.time())
    lines = [f"Daemon: {'running' if running else 'not running'}."]
    return lines + [f"Backfill going on: {title}" for title in unfinished_backfill_titles(instance)]
