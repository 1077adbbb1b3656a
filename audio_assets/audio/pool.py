"""Processes that may crash, hang or run out of memory without costing more than one track.

What belongs here: running any function over items in killable processes, and turning each way to die into a
`TrackFailure`. What does not: what the function does.

Each worker has a pipe of its own and holds at most one item. A pool whose workers share one pipe cannot keep
the promise: a worker killed while it sends a result leaves half a message and a lock behind, and everybody
waits for ever (measured with pebble 5.2, which also breaks when an idle worker dies).

The kernel enforces what Python cannot while C code holds the interpreter lock, as essentia does:

- the *timeout* is a SIGALRM that the worker sets on itself, left at its default action, which is to die;
- the *memory limit* is an RLIMIT_DATA: all that the process may write to and shares with nobody, be it
  numpy's, C++'s or an anonymous mmap. RLIMIT_AS would also count the libraries' code and reserved addresses;
- a worker *dies with its parent*, be that by kill -9, because the parent holds the other end of a pipe whose
  closing sends it SIGIO. Where SIGIO is ignored by default (macOS) the timeout still bounds its life.
"""

import fcntl
import importlib
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, Self, TypeVar

from audio_assets.failures import FailureCode, TrackFailure

T = TypeVar("T")
R = TypeVar("R")

Context = ForkServerContext | SpawnContext
Task = tuple[Callable[[Any], Any], Any]

#: Module whose import sets the environment to one thread.
ONE_THREAD = "audio_assets.one_thread"

#: So many workers in a row may die before they are ready; then no track is to blame.
MAX_FAILED_STARTS = 3

#: So long the system may take to report a process as dead whose pipes are closed.
DYING_S = 0.2

#: A worker's first message; a pickled outcome is never empty.
READY = b""

#: What libraries say that turn a failed allocation into an exception of another kind: C++ by way of essentia;
#: torch, and the system's own ENOMEM.
OUT_OF_MEMORY_WORDS = ("bad_alloc", "allocate memory")

#: Signals that may mean a lack of memory, and why.
DEATHS_BY_MEMORY = {
    "SIGKILL": ", perhaps by the system for want of memory",
    "SIGABRT": ", perhaps as C++ does when an allocation fails",
}

#: Time for the system to report how a process ended whose pipe has closed.
EXIT_CODE_WAIT_S = 5.0

#: Time for an idle worker to end by itself.
STOP_WAIT_S = 2.0


class IsolatedPool:
    """A pool of processes for functions that may take their process down.

    Use it as a context manager. A script that opens one at its top level needs the usual
    ``if __name__ == "__main__":``, because workers import the main module again.

    Parameters
    ----------
    workers : int
        Number of processes, each with one BLAS, OpenMP and numba thread.
    timeout_s : float
        Longest time for one item in seconds, the import of the function's module included.
    preload : sequence of str
        Modules that every worker has imported before it takes its first item. The fork server imports them
        once, so that workers start in milliseconds; where workers are spawned (macOS) or the process has
        started a fork server before, each worker imports them itself, on no item's time. An import that
        fails ends no worker: the function's own import will tell.
    memory_limit_mb : int or None
        Most private memory of one worker in 10^6 bytes, its libraries' data included; None for no limit.
        Memory that is reserved counts, touched or not; shared memory and files that are mapped for reading
        do not. Linux enforces it; macOS may accept the limit and ignore it.
    """

    def __init__(
        self, workers: int, timeout_s: float, preload: Sequence[str] = (), memory_limit_mb: int | None = None
    ) -> None:
        self._context = _start_context(preload)
        self._limits = _Limits(timeout_s, memory_limit_mb, tuple(preload))
        self._size = workers
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def __enter__(self) -> Self:
        self._workers = [_Worker(self._context, self._limits) for _ in range(self._size)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def map_unordered(
        self, function: Callable[[T], R], items: Iterable[T]
    ) -> Iterator[tuple[T, R | TrackFailure]]:
        """Apply a function to every item and yield results as they come.

        A worker holds one item and takes the next when its result has been fetched, so that a slow consumer
        holds the work back instead of piling results up.

        Parameters
        ----------
        function : callable
            A function of one argument, importable by name.
        items : iterable
            Picklable arguments; drawn as workers become free.

        Yields
        ------
        item : T
            The item, as drawn.
        outcome : R or TrackFailure
            What the function returned; the TrackFailure that it raised; or TIMED_OUT, WORKER_DIED,
            OUT_OF_MEMORY, ANALYSIS_FAILED (any other exception) for this item alone.

        Raises
        ------
        RuntimeError
            If the pool is not open or is busy with another call, or if no worker can start.
        """
        if self._busy():
            raise RuntimeError("the pool is busy with another map_unordered")
        remaining = iter(items)
        try:
            for worker in self._workers:
                _give_next(worker, function, remaining)
            while busy := self._busy():
                for connection in wait(list(busy)):
                    worker = busy[connection]
                    for finished in self._collect(worker):
                        _give_next(worker, function, remaining)
                        yield finished
        finally:
            for worker in self._workers:
                if worker.task:  # the consumer stopped early and wants no more of it
                    worker.restart()

    def _busy(self) -> "dict[Any, _Worker]":
        if not self._workers:
            raise RuntimeError("the pool is not open: use it inside its with block")
        return {worker.connection: worker for worker in self._workers if worker.task}

    def _collect(self, worker: "_Worker") -> list[tuple[Any, Any]]:
        """Hear a worker that has news; return its item and outcome if it finished or died over it."""
        assert worker.task
        task = worker.task
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            exit_code, at_work = worker.exit_code(), worker.is_at_work
            worker.restart()
            if at_work:
                return [(task[1], _death(exit_code, self._limits))]
            self._count_failed_start(exit_code)
            worker.give(task)
            return []
        if message == READY:
            worker.is_ready, self._failed_starts = True, 0
            return []
        worker.task = None
        outcome = pickle.loads(message)  # noqa: S301 - made by our worker, on a pipe of its own
        if isinstance(outcome, TrackFailure) and outcome.code == FailureCode.OUT_OF_MEMORY:
            worker.restart()  # C++ code that an allocation failed in may be left in any state
        return [(task[1], outcome)]

    def _count_failed_start(self, exit_code: int | None) -> None:
        self._failed_starts += 1
        if self._failed_starts > MAX_FAILED_STARTS:
            raise RuntimeError(
                f"workers end with exit code {exit_code} before they are ready; a script that opens a pool "
                'needs if __name__ == "__main__":'
            )


@dataclass(frozen=True)
class _Limits:
    """What one item may take, and the modules whose import it need not wait for."""

    timeout_s: float
    memory_mb: int | None
    preload: tuple[str, ...]


class _Worker:
    """A process, replaced when it dies, with the only pipe to it and the task it holds."""

    def __init__(self, context: Context, limits: _Limits) -> None:
        self._context = context
        self._limits = limits
        self._start()

    def _start(self) -> None:
        self.task: Task | None = None
        self.is_ready = False
        self._is_delivered = False
        self.connection, theirs = self._context.Pipe()
        parent_gone, self._lifeline = self._context.Pipe(duplex=False)
        self._process = self._context.Process(
            target=_serve, args=(theirs, parent_gone, self._limits), daemon=True
        )
        _launch(self._process)
        theirs.close()
        parent_gone.close()

    def give(self, task: Task) -> None:
        message = pickle.dumps(task)
        self.task, self._is_delivered = task, False
        with suppress(OSError):  # it died while idle, as the next look at its pipe will show
            self.connection.send_bytes(message)
            self._is_delivered = True

    @property
    def is_at_work(self) -> bool:
        """Whether its task may be to blame, should the process be found dead."""
        return self.is_ready and self._is_delivered

    def exit_code(self) -> int | None:
        self._process.join(EXIT_CODE_WAIT_S)
        return self._process.exitcode

    def restart(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> None:
        self.connection.close()
        if not self.task:  # then the closed pipe ends it, and it cleans up after itself
            self._process.join(STOP_WAIT_S)
        self._process.kill()
        self._process.join()
        self._lifeline.close()


def _start_context(preload: Sequence[str]) -> Context:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([ONE_THREAD, *preload])
    return context


def _launch(process: BaseProcess) -> None:
    """Start a worker; a fork server that was killed while it began is replaced by the next try."""
    for _ in range(MAX_FAILED_STARTS):
        with suppress(EOFError, ConnectionError):
            process.start()
            return
        time.sleep(DYING_S)
    process.start()


def _give_next(worker: _Worker, function: Callable[[T], R], remaining: Iterator[T]) -> None:
    for item in remaining:
        worker.give((function, item))
        return


def _death(exit_code: int | None, limits: _Limits) -> TrackFailure:
    if exit_code == -signal.SIGALRM:
        return TrackFailure(FailureCode.TIMED_OUT, f"stopped after {limits.timeout_s:g} s")
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return TrackFailure(FailureCode.WORKER_DIED, f"killed by {name}{DEATHS_BY_MEMORY.get(name, '')}")
    return TrackFailure(FailureCode.WORKER_DIED, f"ended with exit code {exit_code}")


def _serve(connection: Connection, parent_gone: Connection, limits: _Limits) -> None:
    """Run in the worker: answer one task after the other until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    _die_with_parent(parent_gone)
    _use_one_thread()
    _limit_memory(limits.memory_mb)
    _import_all(limits.preload)
    with suppress(EOFError, OSError):  # the parent has gone
        connection.send_bytes(READY)
        while True:
            task = connection.recv_bytes()
            signal.setitimer(signal.ITIMER_REAL, limits.timeout_s)
            outcome = _run(task)
            signal.setitimer(signal.ITIMER_REAL, 0)  # waiting for a slow consumer is not the task's time
            connection.send_bytes(outcome)


def _die_with_parent(parent_gone: Connection) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGIO})
    fcntl.fcntl(parent_gone, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent_gone, fcntl.F_SETFL, fcntl.fcntl(parent_gone, fcntl.F_GETFL) | os.O_ASYNC)
    if parent_gone.poll():  # it went before the signal was armed
        sys.exit()


def _use_one_thread() -> None:
    import threadpoolctl

    importlib.import_module(ONE_THREAD)  # for libraries that load from here on
    threadpoolctl.threadpool_limits(1)  # for those that came with numpy, the main module or a preload


def _limit_memory(memory_mb: int | None) -> None:
    if memory_mb is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = memory_mb * 10**6 if hard == resource.RLIM_INFINITY else min(memory_mb * 10**6, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _import_all(modules: Sequence[str]) -> None:
    """Import what is not there yet; what goes wrong goes wrong again in the function, which can tell."""
    for module in modules:
        with suppress(Exception):
            importlib.import_module(module)


def _run(task: bytes) -> bytes:
    """Unpickle and call; the pickled outcome is a value or a TrackFailure."""
    try:
        function, item = pickle.loads(task)  # noqa: S301 - made by our parent, on a pipe of its own
        return pickle.dumps(function(item), pickle.HIGHEST_PROTOCOL)
    except TrackFailure as failure:
        return pickle.dumps(failure)
    except Exception as error:  # noqa: BLE001 - recorded as this track's failure, never a default value
        return pickle.dumps(_failure(error.with_traceback(None)))  # which held all that the function held


def _failure(error: Exception) -> TrackFailure:
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(words in message for words in OUT_OF_MEMORY_WORDS):
        return TrackFailure(FailureCode.OUT_OF_MEMORY, message)
    return TrackFailure(FailureCode.ANALYSIS_FAILED, message)
