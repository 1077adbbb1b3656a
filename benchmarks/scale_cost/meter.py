"""What a step takes: the clock, and the processor time of this process and of its database server."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Meter:
    """Collects the cost of named steps.

    Parameters
    ----------
    server_cpu_s : callable
        Processor time so far of the database server, 0 where the database is a library.
    """

    def __init__(self, server_cpu_s: Callable[[], float] = lambda: 0.0) -> None:
        self.steps: dict[str, dict[str, float]] = {}
        self._server_cpu_s = server_cpu_s

    @contextmanager
    def step(self, name: str, times: int = 1) -> Iterator[dict[str, float]]:
        """Measure the block, which does the step `times` times; figures may be added to what it yields."""
        server_s, cpu_s, wall_s = self._server_cpu_s(), time.process_time(), time.monotonic()
        found: dict[str, float] = {}
        yield found
        wall_s, cpu_s = time.monotonic() - wall_s, time.process_time() - cpu_s
        server_s = self._server_cpu_s() - server_s
        self.steps[name] = {"wall_s": wall_s / times, "cpu_s": cpu_s / times, **found}
        if server_s:
            self.steps[name]["server_cpu_s"] = server_s / times
        # On the error output: what a child process prints is its result.
        print(f"  {name}: {json.dumps(self.steps[name])}", file=sys.stderr, flush=True)
