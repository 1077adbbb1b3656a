"""Telling a person how a batch is getting on: in the run's log, or wherever a subclass says."""

import logging
import time
from collections.abc import Callable

_LOG_EVERY_S = 10.0


def in_words(duration_s: float) -> str:
    """Give a duration as a person would: 40 s, 12 min, 3 h 05 min."""
    minutes = round(duration_s / 60)
    if duration_s < 100:
        return f"{duration_s:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Logs tracks done, rate and time to go.

    A plain object and not a configurable resource: Dagster makes those anew for each run, and a subclass
    has to keep the display it draws into.
    """

    def start(self, label: str, total: int, log: logging.Logger) -> Callable[[], None]:
        """Begin a piece of work.

        Parameters
        ----------
        label : str
            What is being done.
        total : int
            Tracks to do.
        log : Logger
            Log of the run.

        Returns
        -------
        callable
            To be called after each track.
        """
        log.info(f"{label}: {total} tracks to do")
        started = last = time.monotonic()
        done = 0

        def advance() -> None:
            nonlocal done, last
            done += 1
            now = time.monotonic()
            if now - last >= _LOG_EVERY_S or done == total:
                last = now
                rate = done / (now - started)
                to_go = in_words((total - done) / rate)
                log.info(f"{label}: {done}/{total} ({done / total:.0%}), {rate:.2f} tracks/s, {to_go} to go")

        return advance
