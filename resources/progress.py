"""Telling a person how a batch is getting on: in the run's log, or wherever a subclass says."""

import logging
import time
from collections.abc import Callable

import dagster as dg
from pydantic import Field


class Progress(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Logs tracks done, rate and time to go."""

    every_s: float = Field(default=10.0, description="Time between two lines in the log [s].")

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
            if now - last >= self.every_s or done == total:
                last = now
                rate = done / (now - started)
                log.info(f"{label}: {done}/{total}, {rate:.2f} tracks/s, {(total - done) / rate:.0f} s to go")

        return advance
