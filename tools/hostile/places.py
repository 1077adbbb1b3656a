"""Odd names, and things in the library that are not files."""

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.hostile.case import Case, content
from tools.hostile.sounds import encode, music

NAMES = "names"
PLACES = "places"

_LOOP_DEVICES, _MEMORY_DEVICES, _ZERO = 7, 1, 5

_ODD_NAMES = (
    "line\nbreak.wav",
    "return\rhome.wav",
    "tab\tstop.wav",
    "bell\a and \x1b]0;title\x07\x1b[2J\x1b[31mred.wav",
    "quote's.wav",
    'double"quote.wav',
    "back`tick`.wav",
    "'); DROP TABLE manifest; --.wav",
    "$(touch harmed).wav",
    "; touch harmed; .wav",
    "a|b&c>d<e.wav",
    "%s%n%x%00.wav",
    "{0.__class__}{root}.wav",
    "[red]markup[/red].wav",
    "[0-9]*?.wav",
    "**.wav",
    "<script>alert(1)</script>.wav",
    "<img src=x onerror=alert(1)>.wav",
    "# heading | cell |.wav",
    "-rf.wav",
    "--help.wav",
    " leading and trailing .wav",
    "...wav.wav",
    "x.wav .wav",
    "back\\slash.wav",
    "Q4\\A002.wav",
    "C:\\Windows\\song.wav",
    "C:.wav",
    "con.wav",
    "http:.wav",
    "=1+1.wav",
    "+44.wav",
    "@sum.wav",
    "007.wav",
    "1e5.wav",
    "null.wav",
    "NA.wav",
    "NaN.wav",
    "true.wav",
    "\u202egnp.wav",
    "zero\u200bwidth.wav",
    "line\u2028separator.wav",
    "\ufeffbom.wav",
    "caf\u00e9.wav",
    "cafe\u0301.wav",
    "\u30b8\u30e3\u30ba.wav",
    "\U0001f3b5\U0001f468\u200d\U0001f469\u200d\U0001f467.wav",
    "\U0001f3b5" * 62 + "123.wav",
    "x" * 251 + ".wav",
    "\u00e9" * 125 + "1.wav",
    "UPPER.WAV",
    "upper.wav",
    "Mixed.WaV",
    "a\\udcff.wav",
    "surrogate \\ud800.wav",
    "\x7f\x01\x02.wav",
    "\x85\xa0.wav",
)


def odd_names(seed: int) -> Iterator[Case]:
    """Give one sound names that were not meant for one.

    All have to end in a row but the last two, which are no text, and a hidden one, which is not listed.
    """
    data = encode("wav", music(seed=seed))
    for name in _ODD_NAMES:
        yield content(NAMES, name, data, is_music=not name.startswith("."))
    deep = "/".join(["d"] * 1_200) + "/deep.wav"
    yield content(NAMES, deep, data, is_music=True)
    for raw in (b"latin-1 \xe9.wav", b"\xff\xfe.wav"):
        yield content(NAMES, os.fsdecode(raw), data)


def places() -> Iterator[Case]:
    """Cases that are no regular file below the root, as far as this user may make them."""
    makers: dict[str, Callable[[Path], object]] = {
        "fifo.wav": os.mkfifo,
        "socket.wav": _bind,
        "folder.wav": Path.mkdir,
        "folder of music.mp3": _folder_with_music,
        "link out.wav": lambda path: path.symlink_to("/etc/passwd"),
        "link out, relative.wav": lambda path: path.symlink_to("../" * 20 + "etc/passwd"),
        "link to a link out.wav": _chain,
        "link to nothing.wav": lambda path: path.symlink_to("nowhere.wav"),
        "link to itself.wav": lambda path: path.symlink_to(path.name),
        "link to a folder.wav": lambda path: path.symlink_to(path.parent),
        "link to the root.wav": lambda path: path.symlink_to("/"),
        "link to zeros without end.wav": lambda path: path.symlink_to("/dev/zero"),
        "link to own memory.wav": lambda path: path.symlink_to("/proc/self/mem"),
        "link to standard input.wav": lambda path: path.symlink_to("/dev/stdin"),
        "link to a link to a FIFO.wav": _link_to_fifo,
    }
    if os.geteuid() == 0:
        makers["zeros without end.wav"] = _node(stat.S_IFCHR, _MEMORY_DEVICES, _ZERO)
        makers["disk.wav"] = _node(stat.S_IFBLK, _LOOP_DEVICES, 0)
    for name, make in makers.items():
        yield Case(PLACES, name, make)


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(path.parent, os.O_RDONLY)
        try:  # the address of a socket is short, a folder's name may be long
            listening.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def _folder_with_music(path: Path) -> None:
    path.mkdir()
    (path / "inside.wav").write_bytes(encode("wav", music()))


def _chain(path: Path) -> None:
    path.with_name("middle of a chain").symlink_to("/etc/passwd")
    path.symlink_to("middle of a chain")


def _link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("fifo without suffix"))
    path.symlink_to("fifo without suffix")


def _node(kind: int, major: int, minor: int) -> Callable[[Path], object]:
    return lambda path: os.mknod(path, 0o600 | kind, os.makedev(major, minor))
