"""One bad file: what kind of badness, what it is called, and how it comes to be."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A file of the corpus.

    Parameters
    ----------
    kind : str
        Name of the group, and of the folder that it lies in.
    name : str
        File name; may have what no file name ought to have.
    write : callable
        Makes the file at a path.
    is_music : bool
        Nothing but its name or place is odd: it has to end in a row.
    move : callable, optional
        Changes the file; called again and again while it is being read.
    """

    kind: str
    name: str
    write: Callable[[Path], object]
    is_music: bool = False
    move: Callable[[Path], object] | None = None

    @property
    def path(self) -> str:
        """Path below the library root."""
        return f"{self.kind}/{self.name}"


def content(kind: str, name: str, data: bytes, *, is_music: bool = False) -> Case:
    """Case of a file with these bytes."""
    return Case(kind, name, lambda path: path.write_bytes(data), is_music)
