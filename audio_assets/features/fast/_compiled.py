"""How functions are compiled, and where the machine code is kept between processes.

numba's cache notices an edit of the module that holds a function, but not of one whose functions that one
calls. So the cache is a folder whose name is a digest of all that the code depends on: the sources of this
package, numba, the processor.

What belongs here: decorators, the cache's folder and its lock. What does not: any loop.
"""

import hashlib
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import llvmlite.binding
import numba
from numba.core.caching import UserProvidedCacheLocator

#: A file in the folder; it is there when all kernels are.
COMPLETE = "complete"

#: Time for another process to compile; it takes about a minute of an idle processor.
LOCK_WAIT_S = 900.0

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

#: Has no type for its settings.
CONFIG: Any = numba.config

LOG = logging.getLogger(__name__)


class KernelCacheError(RuntimeError):
    """There is no folder in which compiled code could be kept, or it cannot be trusted."""


class KernelLocator(UserProvidedCacheLocator):
    """numba's way to the folder, which does not try to write where nothing is left to be written."""

    def ensure_cache_path(self) -> None:
        """Make the folder and see whether it can be written to, unless it is complete."""
        if not (cache_folder() / COMPLETE).exists():
            super().ensure_cache_path()  # type: ignore[no-untyped-call]


def subroutine(function: Any = None, **options: Any) -> Any:
    """Compile into the kernels that call this; options are numba's."""
    return numba.njit(function, **options)


def kernel(function: Any = None, **options: Any) -> Any:
    """Compile a function that Python calls, and keep the code; options are numba's.

    Raises
    ------
    KernelCacheError
        If there is no place to keep it.
    """
    if function is None:
        return lambda decorated: kernel(decorated, **options)
    elsewhere = CONFIG.CACHE_DIR, CONFIG.CACHE_LOCATOR_CLASSES
    CONFIG.CACHE_DIR = str(cache_folder())  # read when the decorator runs; other packages keep theirs
    CONFIG.CACHE_LOCATOR_CLASSES = f"{__name__}.{KernelLocator.__name__}"
    try:
        return numba.njit(function, cache=True, **options)
    finally:
        CONFIG.CACHE_DIR, CONFIG.CACHE_LOCATOR_CLASSES = elsewhere


@cache
def cache_folder() -> Path:
    """Folder for the code of these very sources on this kind of processor; made if need be.

    It lies in NUMBA_CACHE_DIR if that is set, else in the user's cache folder (XDG_CACHE_HOME, ~/.cache).
    A complete one may be read-only.

    Raises
    ------
    KernelCacheError
        If it cannot be made or written to, or if somebody else could put code into it.
    """
    folder = _user_cache() / "audio-assets" / f"kernels-{digest(Path(__file__).parent)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_others(folder)
        if not (folder / COMPLETE).exists():
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise KernelCacheError(
            f"compiled code cannot be kept in {folder} ({error.strerror}): "
            "set NUMBA_CACHE_DIR to a folder that can be written to"
        ) from error
    return folder


def _user_cache() -> Path:
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        if folder := os.environ.get(name):
            return _absolute(folder, name)
    return _absolute(os.path.expanduser("~"), "the home folder") / ".cache"  # noqa: PTH111 - never raises


def _absolute(folder: str, name: str) -> Path:
    """Refuse a path that would mean another folder in another working directory."""
    if not os.path.isabs(folder):  # noqa: PTH117 - "~" of a user without a home is not absolute either
        raise KernelCacheError(f"{name} is {folder!r}: set NUMBA_CACHE_DIR to an absolute path")
    return Path(folder)


def _refuse_others(folder: Path) -> None:
    """Raise if another user (root aside, who can do anything anyway) may put code here: it would be run."""
    found = folder.stat()
    if found.st_uid not in (os.geteuid(), 0):
        reason = f"belongs to user {found.st_uid}"
    elif found.st_mode & OTHERS_MAY_WRITE:
        reason = "may be written to by other users"
    else:
        return
    raise KernelCacheError(f"{folder} {reason}: remove it, or set NUMBA_CACHE_DIR to a folder of your own")


def digest(sources: Path) -> str:
    """Short digest of the modules in a folder and of what compiles and runs them."""
    total = hashlib.sha256(f"{sources} {sys.version} {numba.__version__}".encode())
    total.update(llvmlite.binding.get_host_cpu_name().encode())
    total.update(llvmlite.binding.get_host_cpu_features().flatten().encode())
    for path in sorted(sources.glob("*.py")):
        total.update(f"{path.name} {path.stat().st_mtime_ns}".encode())  # numba drops code of other times
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def compiled_once(make_all: Callable[[], None]) -> None:
    """Call a function that uses every kernel; of processes that do so at once, one compiles for all.

    Without this two processes may give different code the same name in numba's index.

    Raises
    ------
    KernelCacheError
        If another process holds the lock for longer than `LOCK_WAIT_S`.
    """
    with _until_complete(cache_folder()):
        make_all()


@contextmanager
def _until_complete(folder: Path) -> Iterator[None]:
    complete = folder / COMPLETE
    if complete.exists():
        yield
        return
    with _locked(folder / "lock"):
        if not complete.exists():
            LOG.warning("compiling the feature kernels into %s, once: about a minute", folder)
        yield
        complete.touch()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path)
    try:
        lock.acquire(LOCK_WAIT_S)
    except filelock.Timeout as error:
        raise KernelCacheError(
            f"another process has been compiling into {path.parent} for {LOCK_WAIT_S:g} s: "
            "end it, or set NUMBA_CACHE_DIR to another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()
