"""A progress bar over tracks, for a run in a terminal."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console

from resources.progress import Progress


class ProgressBar(Progress):
    """Shows tracks done, rate and time to go as a bar; the run's log gets its lines as well."""

    def __init__(self, bars: rich_progress.Progress) -> None:
        self._bars = bars

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
        yield ProgressBar(bars)
