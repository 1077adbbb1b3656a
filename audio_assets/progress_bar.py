"""A progress bar over tracks, for a run in a terminal."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import PrivateAttr
from rich import progress as rich_progress
from rich.console import Console

from resources.progress import Progress


class ProgressBar(Progress):
    """Shows tracks done, rate and time to go as a bar; the run's log gets its lines as well."""

    _bars: rich_progress.Progress = PrivateAttr()

    @classmethod
    def over(cls, bars: rich_progress.Progress) -> "ProgressBar":
        """Make one that draws into a given display."""
        made = cls()
        made._bars = bars
        return made

    def start(self, label: str, total: int, log: logging.Logger) -> Callable[[], None]:
        """Begin a bar; arguments as for `Progress.start`."""
        log_line = super().start(label, total, log)
        task = self._bars.add_task(label, total=total)

        def advance() -> None:
            self._bars.advance(task)
            log_line()

        return advance


@contextmanager
def progress_bar(console: Console) -> Iterator[ProgressBar]:
    """Show bars on a console while the block runs."""
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=console) as bars:
        yield ProgressBar.over(bars)
