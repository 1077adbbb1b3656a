"""Telling a person how a batch is getting on: in the run's log, or wherever a subclass says."""

import logging
import time
from collections.abc import Callable

_LOG_EVERY_S = 10.0


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
        started = last = time.monotonic()
        done = 0

        def advance() -> None:
            nonlocal done, last
            done += 1
            now = time.monotonic()
            if now - last >= _LOG_EVERY_S or done == total:
                last = now
                rate = done / (now - started)
                log.info(f"{label}: {done}/{total}, {rate:.2f} tracks/s, {(total - done) / rate:.0f} s to go")

        return advance
