"""Files that change while they are read."""

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from tools.hostile.case import Case
from tools.hostile.sounds import encode, music

KIND = "moving"


def moving(seed: int) -> Iterator[Case]:
    """Each with what is done to it, again and again, while the pipeline runs."""
    one, other = music(seed=seed), music(1.9, seed=seed + 1)
    for format, suffix in (("wav", ".wav"), ("flac", ".flac"), ("mp3", ".mp3"), ("m4a", ".m4a")):
        data = encode(format, one)
        for label, move in _moves(data, encode(format, other)).items():
            yield Case(KIND, f"{format} {label}{suffix}", _writes(data), move=move)


def _writes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _moves(data: bytes, other: bytes) -> dict[str, Callable[[Path], object]]:
    turn = count()

    def replace(path: Path, make: Callable[[Path], object]) -> None:
        beside = path.with_name(f".{path.name}")
        beside.unlink(missing_ok=True)
        make(beside)
        beside.replace(path)

    def in_turn(*makers: Callable[[Path], object]) -> Callable[[Path], object]:
        return lambda path: makers[next(turn) % len(makers)](path)

    def truncate(path: Path) -> None:
        os.truncate(path, len(data) // 2)

    def grow(path: Path) -> None:
        with path.open("ab") as file:
            file.write(data[:1_000])

    def spoil(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(len(data) // 3)
            file.write(b"\xff" * 2_000)

    return {
        "is cut and mended": in_turn(truncate, _writes(data)),
        "grows": in_turn(grow, grow, grow, _writes(data)),
        "is spoilt and mended": in_turn(spoil, _writes(data)),
        "is replaced": in_turn(
            lambda path: replace(path, _writes(other)), lambda path: replace(path, _writes(data))
        ),
        "comes and goes": in_turn(lambda path: path.unlink(missing_ok=True), _writes(data)),
        "turns into a link out": in_turn(
            lambda path: replace(path, lambda beside: beside.symlink_to("/etc/passwd")),
            lambda path: replace(path, _writes(data)),
        ),
        "turns into a FIFO": in_turn(
            lambda path: replace(path, os.mkfifo), lambda path: replace(path, _writes(data))
        ),
    }
