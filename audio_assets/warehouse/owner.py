"""Who writes a temporary file or a journal, so that nobody sweeps away what is still being written.

A name carries the writer's process. Ages alone would not do: a clock that jumps makes a live writer look old.
"""

import hashlib
import os
import socket
import time
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_STRAY_AGE_S = 24 * 3600.0
#: The kernel's fixed number of the namespace that it starts with.
_NO_CONTAINER = "pid:[4026531836]"


def owner_tag(pid: int | None = None) -> str:
    """Name a process of this machine: ``<machine>-<pid>-<start>``; start is 0 where there is no ``/proc``."""
    pid = os.getpid() if pid is None else pid
    return f"{_machine()}-{pid}-{_started(pid) or 0}"


def is_dead(tag: str) -> bool | None:
    """Whether the process of a tag has ended.

    Parameters
    ----------
    tag : str
        What `owner_tag` gave, there or on another machine.

    Returns
    -------
    bool or None
        None where it cannot be known: the process was of another machine or container, or the system has
        no ``/proc``.
    """
    machine, _, process = tag.partition("-")
    pid, _, start = process.partition("-")
    known = machine == _machine() and pid.isdecimal() and start != "0"
    return _started(int(pid)) != start if known else None


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has not ended; true where there is no ``/proc`` to tell."""
    return _started(pid) is not None or not _PROC.joinpath("self").exists()


def is_abandoned(path: Path, tag: str) -> bool:
    """Whether nobody writes to a file any more: its writer has ended, or is not known and silent a day."""
    dead = is_dead(tag)
    return path.lstat().st_mtime < time.time() - _STRAY_AGE_S if dead is None else dead


@cache
def _machine() -> str:
    """Name the machine and the container, since two containers count their processes alike."""
    try:
        namespace = str((_PROC / "self" / "ns" / "pid").readlink())
    except OSError:
        namespace = ""
    # A container, or a machine that has no number of its own, is another one after each start.
    number = _text(Path("/etc/machine-id")) if namespace == _NO_CONTAINER else ""
    return hashlib.sha256(f"{socket.gethostname()} {number or _boot()} {namespace}".encode()).hexdigest()[:8]


@cache
def _boot() -> str:
    """Name the time since the machine was started."""
    return _text(_PROC / "sys" / "kernel" / "random" / "boot_id")[:8]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Start of a process: boot, and clock ticks since, which no clock moves; None where there is no such."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    after_name = fields.rpartition(")")[2].split()
    return None if after_name[0] == "Z" else f"{after_name[19]}b{_boot()}"
