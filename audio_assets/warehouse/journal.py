"""What a batch has computed so far, kept where a crash cannot take it.

While a batch runs, each finished row is appended to an Arrow stream and synced. The next run of the
batch reads the rows that are whole and goes on from there. Once the batch's Parquet file is in place the
journal is dropped.
"""

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from audio_assets.warehouse.files import explained
from audio_assets.warehouse.owner import is_abandoned, owner_tag

#: Rows that agree in these say the same.
_IDENTITY = ("song_id", "content_sha256", "failure_code", "extractor_version", "settings_version")

#: Journals that this process appends to.
_OPEN_HERE: set[Path] = set()


class Journal:
    """The journals of one batch of one table.

    Parameters
    ----------
    folder : Path
        Folder of the batch in the record.
    schema : pa.Schema
        Schema of the batch's rows.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema

    def rows(self) -> pa.Table:
        """Rows that earlier runs finished, oldest journal first, without the torn tail of a killed one."""
        batches = [batch for path in self._files() for batch in self._whole_batches(path)]
        return pa.Table.from_batches(batches, schema=self._schema)

    @contextmanager
    def writer(self) -> Iterator["JournalWriter"]:
        """Open a journal of this run's own: two runs of one batch never write to the same file."""
        path = self._folder / f"journal-{time.time_ns():020d}-{owner_tag()}-{uuid.uuid4().hex}.arrows"
        _OPEN_HERE.add(path)
        try:
            with closing(JournalWriter(path, self._schema)) as writer:
                yield writer
        finally:
            _OPEN_HERE.discard(path)

    def ended(self) -> list[Path]:
        """List journals that nobody appends to any more, those of this process included.

        To be asked before `rows`: a run that ends in between may have appended more.
        """
        return [path for path in self._files() if _has_ended(path)]

    def drop(self, paths: Iterable[Path]) -> None:
        """Remove journals, once a Parquet file holds their rows."""
        for path in paths:
            path.unlink(missing_ok=True)

    def drop_recorded(self, recorded: pa.Table) -> list[Path]:
        """Remove journals of ended writers that hold nothing a table does not; give their paths.

        Such a one stays when a writer is killed between its Parquet file and `drop`, or while it computes
        again what is on record.
        """
        names = [name for name in self._schema.names if name in _IDENTITY]
        kept = _keys(recorded, names)
        dropped = []
        for path in self._files():
            rows = pa.Table.from_batches(self._whole_batches(path), schema=self._schema)
            if _has_ended(path) and _keys(rows, names) <= kept:
                path.unlink(missing_ok=True)
                dropped.append(path)
        return dropped

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("journal-*.arrows"))

    def _whole_batches(self, path: Path) -> list[pa.RecordBatch]:
        batches: list[pa.RecordBatch] = []
        try:
            with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
                if stream.schema.equals(self._schema):
                    batches.extend(stream)
        except (pa.ArrowInvalid, EOFError, FileNotFoundError):  # torn by a kill, or dropped meanwhile
            return batches
        except OSError as error:
            if error.errno is not None:  # of the system, and not of Arrow about a torn row: rows may be there
                raise
        return batches


def _has_ended(path: Path) -> bool:
    tag = path.stem.split("-", 2)[2].rpartition("-")[0]
    if tag == owner_tag():
        return path not in _OPEN_HERE
    try:
        return is_abandoned(path, tag)
    except FileNotFoundError:  # its batch was completed meanwhile
        return False


def _keys(table: pa.Table, names: Sequence[str]) -> set[tuple[Any, ...]]:
    return set(zip(*(table[name].to_pylist() for name in names), strict=True))


class JournalWriter:
    """Appends rows to one journal; made by `Journal.writer`.

    Raises
    ------
    StorageError
        From each method, where the disk is full or read-only. Rows appended before are safe.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._folder = path.parent
        self._schema = schema
        with explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb")
            self._stream = pa.ipc.new_stream(self._file, schema)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and wait until it is on disk."""
        with explained(self._folder):
            self._stream.write_batch(pa.RecordBatch.from_pylist([row], schema=self._schema))
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """End the journal; one that was never closed is read just as well."""
        with explained(self._folder), self._file:
            self._stream.close()
