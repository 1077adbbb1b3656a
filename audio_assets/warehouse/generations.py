"""Which published generation readers get: switching, rolling back, and dropping old ones.

``warehouse.duckdb`` is a symbolic link to one ``warehouse-<generation>.duckdb``. A rollback points it at an
older one and pins it there: later builds are kept beside it, and readers stay until the pin is released.

What belongs here: the link, the pin and the files' names. What does not: what a generation holds
(``publish``).
"""

import datetime as dt
import os
import re
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from audio_assets.warehouse.files import atomic_path, explained, switch_link

LINK_NAME = "warehouse.duckdb"
KEPT_GENERATIONS = 3

#: A reader follows the link and then opens the file; the file must outlive one more publication.
FEWEST_KEPT = 2

_PIN_NAME = "warehouse.pinned"
_PREFIX, _SUFFIX = "warehouse-", ".duckdb"
_NAME_FORMAT = "%Y%m%dT%H%M%S%f"
#: A copy that somebody named is none: it is never read as the newest, and never swept away.
_NAME = re.compile(r"\d{8}T\d{12}")


class RollbackError(Exception):
    """There is no such generation to go back to; the message names those there are."""


@dataclass(frozen=True)
class Generation:
    """One published file.

    Parameters
    ----------
    name : str
        Its time of publication, in UTC; later than that of the generation before, whatever the clock said.
    path : Path
        The file.
    is_read : bool
        Whether readers who open ``warehouse.duckdb`` get it.
    is_pinned : bool
        Whether a rollback holds readers there.
    """

    name: str
    path: Path
    is_read: bool
    is_pinned: bool


def list_generations(data_dir: Path) -> list[Generation]:
    """Every generation that is kept, oldest first."""
    read, pinned = _linked(data_dir), pinned_generation(data_dir)
    return [
        Generation(name, generation_path(data_dir, name), name == read, name == pinned)
        for name in _names(data_dir)
    ]


def generation_path(data_dir: Path, name: str) -> Path:
    """Path of a generation's file."""
    return data_dir / f"{_PREFIX}{name}{_SUFFIX}"


def newest_generation(data_dir: Path) -> Path | None:
    """File that was published last, be readers there or held at an older one; None before the first."""
    return next((generation_path(data_dir, name) for name in reversed(_names(data_dir))), None)


def next_name(data_dir: Path) -> str:
    """Name a new generation: the time, or just after the newest one's where the clock has gone back."""
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    for newest in _names(data_dir)[-1:]:
        now = max(now, dt.datetime.strptime(newest, _NAME_FORMAT) + dt.timedelta(microseconds=1))
    return now.strftime(_NAME_FORMAT)


def pinned_generation(data_dir: Path) -> str | None:
    """Tell at which generation a rollback holds readers; None without one, or if its file is gone."""
    try:
        name = (data_dir / _PIN_NAME).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    return name if name in _names(data_dir) else None


def switch_to(data_dir: Path, name: str) -> str | None:
    """Give readers a generation, unless a rollback holds them at another one.

    Parameters
    ----------
    data_dir : Path
        Folder of the generations.
    name : str
        The generation.

    Returns
    -------
    str or None
        The generation that readers are held at instead.
    """
    with _lock(data_dir):
        pinned = pinned_generation(data_dir)
        _link(data_dir, pinned or name)
    return pinned


def roll_back(data_dir: Path, name: str | None = None) -> Generation:
    """Give readers an older generation at once, and hold them there until `release`.

    Parameters
    ----------
    data_dir : Path
        Folder of the generations.
    name : str, optional
        The generation; without it, the one before that which is read now.

    Returns
    -------
    Generation
        What readers get now.

    Raises
    ------
    RollbackError
        There is no such generation, or none before.
    """
    with explained(data_dir), _lock(data_dir):
        name = name or _one_before(data_dir)
        if name not in _names(data_dir):
            known = ", ".join(_names(data_dir)) or "none"
            raise RollbackError(f"there is no generation {name}; kept are: {known}")
        # The pin first: killed in between, the next publication ends what was begun here.
        with atomic_path(data_dir / _PIN_NAME) as temporary:
            temporary.write_text(f"{name}\n", encoding="utf-8")
        _link(data_dir, name)
    return Generation(name, generation_path(data_dir, name), is_read=True, is_pinned=True)


def release(data_dir: Path) -> Generation:
    """End a rollback: readers get the newest generation at once.

    Raises
    ------
    RollbackError
        Nothing is published.
    """
    with explained(data_dir), _lock(data_dir):
        (data_dir / _PIN_NAME).unlink(missing_ok=True)
        names = _names(data_dir)
        if not names:
            raise RollbackError(f"nothing is published in {data_dir}")
        _link(data_dir, names[-1])
    return Generation(names[-1], generation_path(data_dir, names[-1]), is_read=True, is_pinned=False)


def drop_old_generations(data_dir: Path, kept: int) -> list[Path]:
    """Remove all but the newest generations and the one that is read; who has one open keeps reading it.

    Parameters
    ----------
    data_dir : Path
        Folder of the generations.
    kept : int
        How many to keep, two at least.

    Returns
    -------
    list of Path
        What was removed.
    """
    with _lock(data_dir):
        names = _names(data_dir)
        staying = {*names[-max(kept, FEWEST_KEPT) :], _linked(data_dir), pinned_generation(data_dir)}
        dropped = [generation_path(data_dir, name) for name in names if name not in staying]
        for path in dropped:
            path.unlink(missing_ok=True)
            Path(f"{os.fspath(path)}.wal").unlink(missing_ok=True)
    return dropped


def _lock(data_dir: Path) -> FileLock:
    """Held for a moment only, so that a rollback never waits for a build."""
    return FileLock(data_dir / ".switch.lock")


def _names(data_dir: Path) -> list[str]:
    found = (path.name for path in data_dir.glob(f"{_PREFIX}*{_SUFFIX}"))
    names = (name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in found)
    return sorted(name for name in names if _NAME.fullmatch(name))


def _linked(data_dir: Path) -> str | None:
    try:
        return (data_dir / LINK_NAME).readlink().name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    except FileNotFoundError:
        return None


def _one_before(data_dir: Path) -> str:
    read = _linked(data_dir)
    before = [name for name in _names(data_dir) if read is not None and name < read]
    if not before:
        raise RollbackError("there is no generation before the one that is read")
    return before[-1]


def _link(data_dir: Path, name: str) -> None:
    switch_link(data_dir / LINK_NAME, generation_path(data_dir, name))
