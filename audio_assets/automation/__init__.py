"""What runs without anybody clicking: sensors, the scheduled backfill, alerts; and the jobs they launch.

What belongs here: when something is launched, and when it is not. What does not: deciding what there is
to do (``outstanding``, ``builds``) and doing it (the assets).
"""

from audio_assets.automation.alerts import alert_sensors
from audio_assets.automation.forgotten_retries import forgotten_retries
from audio_assets.automation.jobs import EXECUTOR, JOBS
from audio_assets.automation.lost_runs import lost_runs
from audio_assets.automation.schedules import daily_verification, scheduled_backfill
from audio_assets.automation.sensors import library_sensors
from audio_assets.automation.settings import AutomationSettings

__all__ = [
    "EXECUTOR",
    "JOBS",
    "AutomationSettings",
    "alert_sensors",
    "daily_verification",
    "forgotten_retries",
    "library_sensors",
    "lost_runs",
    "scheduled_backfill",
]
