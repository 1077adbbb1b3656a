"""The scheduled backfill of whatever is missing, failed or stale, and the daily look at what people read."""

import datetime as dt

import dagster as dg

from audio_assets.attempts import Attempts
from audio_assets.automation.backfills import launch, launching, plan
from audio_assets.automation.jobs import analyse_batch, verify_tables
from audio_assets.automation.settings import AutomationSettings
from resources.clap_model import ClapModel
from resources.warehouse import Warehouse

NAME = "scheduled_backfill"


def scheduled_backfill(settings: AutomationSettings) -> dg.ScheduleDefinition:
    """Make the schedule.

    Parameters
    ----------
    settings : AutomationSettings
        Cron, time zone, attempts.

    Returns
    -------
    ScheduleDefinition
        A tick launches at most one backfill, whose id follows from the tick's time: a tick that is
        evaluated twice launches once.
    """

    @dg.schedule(
        name=NAME,
        job=analyse_batch,
        cron_schedule=settings.backfill_cron,
        execution_timezone=settings.timezone,
        default_status=settings.schedule_status,
        description="Backfills all batches that are missing, failed or stale.",
    )
    def backfill(
        context: dg.ScheduleEvaluationContext, warehouse: Warehouse, clap_model: ClapModel
    ) -> dg.SkipReason:
        # In UTC, since an hour of each autumn is there twice.
        backfill_id = f"scheduled-{context.scheduled_execution_time.astimezone(dt.UTC):%Y%m%d-%H%M}"
        attempts = Attempts(warehouse.path, settings.most_attempts)
        with launching(warehouse.path):
            planned = plan(context.instance, warehouse, clap_model, attempts, backfill_id)
            launch(
                context.instance,
                planned.launched,
                attempts,
                backfill_id=backfill_id,
                title=f"Scheduled backfill {context.scheduled_execution_time:%Y-%m-%d %H.%M}",
                launched_by=NAME,
            )
        # A backfill is not a run of this schedule, so as far as Dagster knows the tick is skipped.
        return dg.SkipReason(f"Backfill {backfill_id}: {planned}" if planned.launched else str(planned))

    return backfill


def daily_verification(settings: AutomationSettings) -> dg.ScheduleDefinition:
    """Make the schedule that looks for what nobody noticed, such as an export that somebody removed.

    A failed check makes its table due, and the sensor rebuilds it.
    """
    return dg.ScheduleDefinition(
        name="daily_verification",
        job=verify_tables,
        cron_schedule="17 4 * * *",
        execution_timezone=settings.timezone,
        default_status=settings.schedule_status,
        description="Compares the published tables and the exports with the record.",
    )
