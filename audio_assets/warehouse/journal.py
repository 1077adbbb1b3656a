"""What a batch has computed so far, kept where a crash cannot take it.

While a batch runs, each finished row is appended to an Arrow stream and synced. The next run of the
batch reads the rows that are whole and goes on from there. Once the batch's Parquet file is in place the
journal is dropped.
"""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa


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
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"journal-{time.time_ns()}-{uuid.uuid4().hex}.arrows"
        with path.open("wb") as file, pa.ipc.new_stream(file, self._schema) as stream:
            yield JournalWriter(file, stream, self._schema)

    def drop(self) -> None:
        """Remove the journals, once a Parquet file holds their rows."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("journal-*.arrows"))

    def _whole_batches(self, path: Path) -> list[pa.RecordBatch]:
        batches: list[pa.RecordBatch] = []
        try:
            with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
                if stream.schema.equals(self._schema):
                    batches.extend(stream)
        except (pa.ArrowInvalid, OSError, EOFError):  # the writer was killed in the middle of a row
            return batches
        return batches


class JournalWriter:
    """Appends rows to one journal; made by `Journal.writer`."""

    def __init__(self, file: Any, stream: Any, schema: pa.Schema) -> None:
        self._file = file
        self._stream = stream
        self._schema = schema

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and wait until it is on disk."""
        self._stream.write_batch(pa.RecordBatch.from_pylist([row], schema=self._schema))
        self._file.flush()
        os.fsync(self._file.fileno())
