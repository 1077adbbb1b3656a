"""Removing what nobody needs any more, at any time and beside readers and writers.

Each step looks at one thing and removes it whole or not at all, so that a sweep may be killed anywhere and
begun again. What a writer that may be alive has in hand is left alone.

What belongs here: what goes, and why. What does not: when (``maintenance``).
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from audio_assets.warehouse.files import TEMPORARY_PREFIX, is_stray
from audio_assets.warehouse.generations import drop_old_generations
from audio_assets.warehouse.journal import Journal
from audio_assets.warehouse.layout import DRAFTED, IN_FORCE, below
from audio_assets.warehouse.record import Record
from audio_assets.warehouse.schemas import arrow_schema


@dataclass
class Sweep:
    """What a sweep removed.

    Parameters
    ----------
    removed : dict of str to list of Path
        Paths by what they were.
    freed_bytes : int
        Their size; a generation that a reader has open frees its space when that reader closes it.
    """

    removed: dict[str, list[Path]] = field(default_factory=dict)
    freed_bytes: int = 0


def sweep(record: Record, data_dir: Path, kept: int) -> Sweep:
    """Remove strays of killed writers, superseded versions and files of the record, and old generations.

    Parameters
    ----------
    record : Record
        The record.
    data_dir : Path
        Folder of the record and the generations.
    kept : int
        Generations to keep.

    Returns
    -------
    Sweep
        What was removed.
    """
    before = size_of(data_dir)
    removed = {
        "strays": sweep_strays(data_dir),
        "generations": drop_old_generations(data_dir, kept),
        "versions": [*record.drop_superseded_versions(), *_former_layout(record)],
        "journals": list(_recorded_journals(record)),
    }
    return Sweep(removed, max(0, before - size_of(data_dir)))


def sweep_strays(folder: Path) -> list[Path]:
    """Remove what killed writers left below a folder.

    Parameters
    ----------
    folder : Path
        Any folder; writers that are at work in it are not disturbed.

    Returns
    -------
    list of Path
        What was removed.
    """
    dropped = []
    for path in [path for path in below(folder) if path.name.startswith(TEMPORARY_PREFIX)]:
        with suppress(FileNotFoundError):  # a writer finished, or another sweep was here, meanwhile
            if is_stray(path):
                _remove(path)
                dropped.append(path)
    return dropped


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, each counted once however many names it has."""
    found = {}
    for path in below(folder):
        with suppress(FileNotFoundError):
            status = path.lstat()
            found[status.st_ino] = status.st_size
    return sum(found.values())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _former_layout(record: Record) -> Iterator[Path]:
    """Files of the time before the normalised table and its index were versioned together."""
    for name in (DRAFTED, IN_FORCE):
        folder = record.root / name
        if folder.is_dir():
            shutil.rmtree(folder)
            yield folder


def _recorded_journals(record: Record) -> Iterator[Path]:
    for path in {path.parent for path in record.root.glob("*/batch=*/journal-*")}:
        name, batch = path.parent.name, path.name.removeprefix("batch=")
        recorded = record.read(name, batch)
        if recorded is not None:
            yield from Journal(path, arrow_schema(name)).drop_recorded(recorded)
