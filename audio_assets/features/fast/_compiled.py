"""How functions are compiled, and where the machine code is kept between processes.

numba's cache notices an edit of the module that holds a function, but not of one whose functions that one
calls. So the cache is a folder whose name is a digest of all that the code depends on: the sources of this
package, numba, the processor.

What belongs here: decorators, the cache's folder and its lock. What does not: any loop.
"""

import hashlib
import os
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

#: A file in the folder; it is there when all kernels are.
COMPLETE = "complete"

#: Has no type for its settings.
CONFIG: Any = numba.config


class KernelCacheError(RuntimeError):
    """There is no folder in which compiled code could be kept."""


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
    elsewhere = CONFIG.CACHE_DIR
    CONFIG.CACHE_DIR = str(cache_folder())  # read when the decorator runs; other packages keep theirs
    try:
        return numba.njit(function, cache=True, **options)
    finally:
        CONFIG.CACHE_DIR = elsewhere


@cache
def cache_folder() -> Path:
    """Folder for the code of these very sources on this kind of processor; made if need be.

    It lies in NUMBA_CACHE_DIR if that is set, else in the user's cache folder (XDG_CACHE_HOME, ~/.cache).
    """
    configured = os.environ.get("NUMBA_CACHE_DIR")
    user_cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    folder = Path(configured or user_cache, "audio-assets", f"kernels-{digest(Path(__file__).parent)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise KernelCacheError(
            f"compiled code cannot be kept in {folder} ({error.strerror}): "
            "set NUMBA_CACHE_DIR to a folder that can be written to"
        ) from error


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
    """
    with _until_complete(cache_folder()):
        make_all()


@contextmanager
def _until_complete(folder: Path) -> Iterator[None]:
    complete = folder / COMPLETE
    if complete.exists():
        yield
        return
    with filelock.FileLock(folder / "lock"):
        yield
        complete.touch()
