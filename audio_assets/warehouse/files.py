"""Writing a file so that a reader, or a crash, sees the old one or the new one and nothing between."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"

_STRAY_AGE_S = 24 * 3600.0


def temporary_path(folder: Path) -> Path:
    """Name a temporary file or folder; without a suffix, so that no glob over a format ever matches it."""
    return folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file; on success it takes the file's place.

    Parameters
    ----------
    path : Path
        The file to write or replace; its folder is made where missing.

    Yields
    ------
    Path
        Where to write. It is removed if the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path.parent)
    try:
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep_strays(folder: Path) -> None:
    """Remove what killed writers left below a folder a day ago or earlier.

    Parameters
    ----------
    folder : Path
        Any folder; writers that are at work in it are not disturbed.
    """
    limit = time.time() - _STRAY_AGE_S
    for path in folder.rglob(f"{TEMPORARY_PREFIX}*"):
        with suppress(FileNotFoundError):  # a writer finished meanwhile
            if path.lstat().st_mtime < limit:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
