"""The automation's settings, each an environment variable of the process that serves the definitions."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from audio_assets.environment import PREFIX, SettingError, read_number


@dataclass(frozen=True)
class AutomationSettings:
    """When and how often the automation acts.

    Parameters
    ----------
    on : bool
        Whether sensors and schedule run from the start of the server, without a click in the UI.
    backfill_cron, timezone : str
        When missing, failed and stale batches are backfilled.
    most_attempts : int
        Launches of the same work after which the automation gives it up.
    interval_s : int
        Time between two looks at the library.
    settle_s : float
        How long a file has to have been left alone before it is taken in.
    gather_s : float
        How long a look that found changes waits at most for files that are still arriving, so that a long
        copy becomes few batches.
    publish_every_h : float
        How long tables may stay as they are while batches run one after the other for days.
    overdue_h : float
        How long tables may lag behind the library before an alert.
    alert_command : tuple of str
        Program and arguments; gets the alert as JSON on its standard input. Empty for none.
    alert_webhook : str
        Address the alert is sent to by POST, as JSON. Empty for none.
    """

    on: bool = False
    backfill_cron: str = "0 * * * *"
    timezone: str = "UTC"
    most_attempts: int = 3
    interval_s: int = 30
    settle_s: float = 30.0
    gather_s: float = 600.0
    publish_every_h: float = 6.0
    overdue_h: float = 24.0
    alert_command: tuple[str, ...] = ()
    alert_webhook: str = ""

    @property
    def sensor_status(self) -> dg.DefaultSensorStatus:
        """Whether sensors run until somebody says otherwise in the UI."""
        return dg.DefaultSensorStatus.RUNNING if self.on else dg.DefaultSensorStatus.STOPPED

    @property
    def schedule_status(self) -> dg.DefaultScheduleStatus:
        """Whether schedules run until somebody says otherwise in the UI."""
        return dg.DefaultScheduleStatus.RUNNING if self.on else dg.DefaultScheduleStatus.STOPPED

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "AutomationSettings":
        """Read the settings.

        Raises
        ------
        SettingError
            A value is not one that can be used. A typing error must not turn the automation off silently.
        """
        default = cls()
        return cls(
            on=_switch(environment, "AUTOMATION"),
            backfill_cron=environment.get(f"{PREFIX}BACKFILL_CRON", default.backfill_cron),
            timezone=environment.get(f"{PREFIX}TIMEZONE", default.timezone),
            most_attempts=int(read_number(environment, "MOST_ATTEMPTS", default.most_attempts, 1)),
            interval_s=int(read_number(environment, "SENSOR_INTERVAL_S", default.interval_s, 1)),
            settle_s=read_number(environment, "SETTLE_S", default.settle_s, 0),
            gather_s=read_number(environment, "GATHER_S", default.gather_s, 0),
            publish_every_h=read_number(environment, "PUBLISH_EVERY_H", default.publish_every_h, 0),
            overdue_h=read_number(environment, "OVERDUE_H", default.overdue_h, 0),
            alert_command=_command(environment),
            alert_webhook=_address(environment),
        )


def _switch(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(PREFIX + name, "off").strip().lower()
    if value not in ("on", "off", ""):
        raise SettingError(f"{PREFIX}{name} is {value!r}; it can be on or off")
    return value == "on"


def _command(environment: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(environment.get(f"{PREFIX}ALERT_COMMAND", "")))
    except ValueError as error:
        raise SettingError(f"{PREFIX}ALERT_COMMAND cannot be split into words: {error}") from None


def _address(environment: Mapping[str, str]) -> str:
    value = environment.get(f"{PREFIX}ALERT_WEBHOOK", "").strip()
    if value and not value.startswith(("https://", "http://")):
        raise SettingError(f"{PREFIX}ALERT_WEBHOOK has to begin with https:// or http://")
    return value
