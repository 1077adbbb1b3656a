"""Writing a file so that a reader, or a crash, sees the old one or the new one and nothing between.

What belongs here: temporary names, the switch, and saying what to do when the disk refuses. What does not:
removing what killed writers left (``sweep``).
"""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audio_assets.warehouse.owner import is_abandoned, owner_tag

TEMPORARY_PREFIX = ".tmp-"
#: DuckDB writes a log beside a file that it makes, and spills what does not fit into memory.
_TEMPORARY = re.compile(
    rf"{re.escape(TEMPORARY_PREFIX)}(?P<owner>[0-9a-f]{{8}}-\d+-.+)-[0-9a-f]{{32}}(\.wal|\.spill)?"
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
#: What a write ends with where no more can be written.
UNWRITABLE = _FULL | _REFUSED


class StorageError(OSError):
    """The data folder cannot be written to; nothing was changed, and the message says what to do."""


class DiskFullError(StorageError):
    """No space is left, or a quota is used up."""


class ReadOnlyFolderError(StorageError):
    """The folder is mounted read-only, or belongs to somebody else."""


def temporary_path(folder: Path) -> Path:
    """Name a temporary file or folder; without a suffix, so that no glob over a format ever matches it."""
    return folder / f"{TEMPORARY_PREFIX}{owner_tag()}-{uuid.uuid4().hex}"


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

    Raises
    ------
    StorageError
        The disk is full, or the folder cannot be written to; the former file is still in place.
    """
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path.parent)
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            with suppress(OSError):  # on a disk that went read-only; the reason is on its way up already
                temporary.unlink(missing_ok=True)


def switch_link(link: Path, target: Path) -> None:
    """Point a symbolic link, new or old, at a file or folder beside it, at once."""
    with explained(link.parent):
        temporary = temporary_path(link.parent)
        temporary.symlink_to(target.name)
        temporary.replace(link)
        sync(link.parent)


def is_stray(path: Path) -> bool:
    """Whether a file or folder under a temporary name of ours was left by a writer that has ended."""
    ours = _TEMPORARY.fullmatch(path.name)  # a library may lie below the data folder, with names like it
    return ours is not None and is_abandoned(path, ours["owner"])


def is_written_to(folder: Path) -> bool:
    """Whether a writer that may be alive has a temporary file in a folder."""
    return any(not is_stray(path) for path in folder.glob(f"{TEMPORARY_PREFIX}*"))


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says what to do; other errors pass.

    Without the original as its cause, since the innermost cause is what a failed run shows.

    Parameters
    ----------
    folder : Path
        What was written to.

    Raises
    ------
    StorageError
        As described there.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(folder) from None
        if error.errno in _REFUSED:
            raise ReadOnlyFolderError(
                error.errno,
                f"{os.strerror(error.errno or 0)}: {folder} cannot be written to. Mount it read-write, or "
                "give it to the user that runs audio-assets, and run again; what was there is unchanged",
            ) from None
        raise


def disk_full(folder: Path) -> DiskFullError:
    """Say how little space is left where, and what to do."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free_mb = shutil.disk_usage(existing).free / 1e6
    return DiskFullError(
        errno.ENOSPC,
        f"No space left on device: {folder} ({free_mb:.1f} MB free). Free some, by 'audio-assets maintain' "
        "or otherwise, and run again; what was there is unchanged, and finished tracks are kept",
    )


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
