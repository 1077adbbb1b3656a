"""What a mirror holds: which edition of which file of the store, kept in a small database beside the record.

What belongs here: keeping that. What does not: moving files (``mirror``).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from audio_assets.warehouse.layout import identity

_TABLES = (
    "CREATE TABLE IF NOT EXISTS files (key TEXT PRIMARY KEY, etag TEXT NOT NULL, mtime_ns INTEGER NOT NULL, "
    "size_bytes INTEGER NOT NULL, inode INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS mirrored (record_id TEXT NOT NULL)",
)
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Edition:
    """An edition of a file of the store, and which local file holds it."""

    etag: str
    file: list[int]

    def is_held_by(self, path: Path) -> bool:
        """Whether a local file still is the one that holds it."""
        try:
            return identity(path) == self.file
        except FileNotFoundError:
            return False


@dataclass(frozen=True)
class Etags:
    """The database; each call is a transaction of its own.

    Parameters
    ----------
    path : Path
        Its file, made where missing.
    """

    path: Path

    def record_id(self) -> str | None:
        """Which record is mirrored; None before the first one is."""
        with self._open() as database:
            found = database.execute("SELECT record_id FROM mirrored").fetchone()
        return str(found[0]) if found else None

    def set_record_id(self, record_id: str | None) -> None:
        """Keep which record is mirrored; None for none yet."""
        with self._open() as database:
            database.execute("DELETE FROM mirrored")
            if record_id:
                database.execute("INSERT INTO mirrored VALUES (?)", [record_id])

    def all(self) -> dict[str, Edition]:
        """Give all editions by key."""
        with self._open() as database:
            return {key: Edition(etag, file) for key, etag, *file in database.execute("SELECT * FROM files")}

    def get(self, key: str) -> Edition | None:
        """Give the edition of one file; None where it is not held."""
        with self._open() as database:
            found = database.execute("SELECT * FROM files WHERE key = ?", [key]).fetchone()
        return Edition(found[1], list(found[2:])) if found else None

    def note(self, key: str, etag: str, path: Path) -> None:
        """Note that a local file holds this edition."""
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", [key, etag, *identity(path)]
            )

    def forget(self, key: str) -> None:
        """Note that no edition is held; before the local file is touched, so that a crash leaves no lie."""
        with self._open() as database:
            database.execute("DELETE FROM files WHERE key = ?", [key])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=_PATIENCE_S)) as database, database:
            database.execute("PRAGMA journal_mode = WAL")
            # What a power cut takes is pulled again: its etag, or the identity of its file, is another.
            database.execute("PRAGMA synchronous = NORMAL")
            for statement in _TABLES:
                database.execute(statement)
            yield database
