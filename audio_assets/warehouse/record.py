"""The Parquet record: the only place results are written to.

One file for each table and batch, replaced whole. A file holds its schema, and in its metadata what it
was made from. Nothing here locks: two writers of one batch write the same rows, and the later one wins.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from audio_assets.warehouse.currency import fingerprint
from audio_assets.warehouse.files import atomic_path, temporary_path
from audio_assets.warehouse.schemas import RECORD, arrow_schema

_BATCH_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_BATCHED = ("audio_features", "clap_embeddings")


class RecordError(Exception):
    """The record would be broken by a write, or is broken; the message says which file and how."""


@dataclass(frozen=True)
class Record:
    """The record below one folder.

    Parameters
    ----------
    root : Path
        Folder of the record, ``<data>/record``.
    """

    root: Path

    def path(self, name: str, batch: str | None = None) -> Path:
        """Path of a table's file.

        Parameters
        ----------
        name : str
            A key of `schemas.RECORD`.
        batch : str, optional
            Partition key, for the tables that have partitions.

        Returns
        -------
        Path
            The file, whether or not it exists.

        Raises
        ------
        RecordError
            The table or the key is not one of ours; keys become folder names.
        """
        if name not in RECORD or (batch is not None) != (name in _BATCHED):
            raise RecordError(f"the record has no table {name!r} with batch {batch!r}")
        if batch is None:
            return self.root / name / "part.parquet"
        if not _BATCH_KEY.fullmatch(batch):
            raise RecordError(
                f"{batch!r} is not a partition key (lower-case letters, digits, single hyphens)"
            )
        return self.root / name / f"batch={batch}" / "part.parquet"

    def write(
        self, name: str, table: pa.Table, *, batch: str | None = None, metadata: dict[str, str] | None = None
    ) -> Path:
        """Write one table, or one batch of it, whole.

        Parameters
        ----------
        name, batch
            As for `path`.
        table : pa.Table
            The rows. Names and types must be those of the schema; only the manifest may have more.
        metadata : dict of str to str, optional
            Kept in the Parquet file.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        RecordError
            The rows do not have the schema. Under a glob the first file's types would win silently.
        """
        expected = arrow_schema(name)
        got = table.select([n for n in expected.names if n in table.column_names]).schema.remove_metadata()
        exact = name == "track_manifest" or table.num_columns == len(expected)
        if not (got.equals(expected) and exact):
            raise RecordError(
                f"rows for {name} have schema\n{table.schema}\nbut the record holds\n{expected}"
            )
        path = self.path(name, batch)
        with atomic_path(path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")
        return path

    def read(self, name: str, batch: str | None = None) -> pa.Table | None:
        """Rows of a table or batch with the metadata they were written with; None where never written."""
        path = self.path(name, batch)
        return pq.read_table(path, partitioning=None) if path.exists() else None

    def batches(self, name: str) -> list[str]:
        """Keys of the batches that a table has, sorted."""
        folders = (path.parent.name for path in (self.root / name).glob("batch=*/part.parquet"))
        return sorted(folder.removeprefix("batch=") for folder in folders)

    def initialise(self) -> None:
        """Give every table a file with its schema, so that views work before anything is computed."""
        for name in RECORD:
            empty = arrow_schema(name).empty_table()
            path = self.root / name / "schema.parquet" if name in _BATCHED else self.path(name)
            # A column that is new here is NULL in older batches, but some file must have it.
            is_old = name in _BATCHED and path.exists() and not pq.read_schema(path).equals(empty.schema)
            if is_old or not path.exists():
                with atomic_path(path) as temporary:
                    pq.write_table(empty, temporary)

    @contextmanager
    def snapshot(self) -> Iterator["Record"]:
        """Hold the record still, so that several tables are read as of one moment.

        Files are replaced and never written to, so hard links to them are a copy that costs nothing.

        Yields
        ------
        Record
            The record as it was; gone when the block ends.
        """
        self.initialise()
        folder = temporary_path(self.root.parent)
        try:
            while not self._link_into(folder):
                shutil.rmtree(folder)
            yield Record(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _link_into(self, folder: Path) -> bool:
        """Link all files into a folder; False where one was replaced meanwhile."""
        before = fingerprint(self.root)
        for name in before:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                os.link(self.root / name, folder / name)
        return fingerprint(self.root) == before == fingerprint(folder)
