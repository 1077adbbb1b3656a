"""The Parquet record: the only place results are written to.

One file for each table and batch, replaced whole. A file holds its schema, and in its metadata what it
was made from. Nothing here locks: of two writers of one file the later one wins, or has to merge where the
record is in an object store (``mirror``). Writers of batches always merge (``batch``).

The normalised table and the index of it belong together. Each pair has a folder of its own, a numbered
version, that is in force once its index, written last, is there: one rename switches both.
"""

import errno
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from audio_assets.warehouse.currency import fingerprint
from audio_assets.warehouse.files import atomic_path, explained, hard_link, is_written_to, temporary_path
from audio_assets.warehouse.layout import (
    APPROXIMATE,
    BATCH_KEY,
    BATCHED,
    CORPUS,
    DRAFTED,
    IN_FORCE,
    MATRIX,
    NO_VERSION,
    VERSION,
    VERSIONED,
    corpus_version,
    corpus_versions,
    files_of,
    identity,
    superseded,
)
from audio_assets.warehouse.mirror import Mirror
from audio_assets.warehouse.schemas import RECORD, arrow_schema
from audio_assets.warehouse.store import OvertakenError

Result = TypeVar("Result")

#: Bounds what is held of a table that is read block by block: 8 MB of vectors, or such files.
_BLOCK_ROWS = 4_096
_BLOCK_BYTES = 8 * 2**20
#: Of a large ledger only the groups that a batch is in are read.
_GROUP_ROWS = 16_384
_MOST_OVERTAKEN = 20


class RecordError(Exception):
    """The record would be broken by a write, or is broken; the message says which file and how."""


@dataclass(frozen=True)
class Record:
    """The record below one folder.

    Parameters
    ----------
    root : Path
        Folder of the record, ``<data>/record``.
    mirror : Mirror, optional
        The object store that the record is in, and the folder mirrors; without it the folder is all there is.
    """

    root: Path
    mirror: Mirror | None = None

    def pull(self, batch: str | None = None, *, patiently: bool = True) -> None:
        """Take in what other machines have written, as `Mirror.pull` does; nothing to do without a mirror."""
        if self.mirror:
            self.mirror.pull(batch, patiently=patiently)

    def edition(self, name: str, batch: str | None = None) -> str | None:
        """Which edition of a file is here, to be asked before it is read and given to `write`.

        None where there is none yet, or no mirror.
        """
        return self.mirror.edition(self.path(name, batch)) if self.mirror else None

    def onto_latest(self, name: str, batch: str | None, attempt: Callable[[str | None], Result]) -> Result:
        """Run what reads a file and writes it anew, and once more whenever another machine was quicker.

        Parameters
        ----------
        name, batch
            As for `path`.
        attempt : callable
            Called with the `edition` to write onto.

        Returns
        -------
        Result
            What the attempt gave that was not overtaken.
        """
        for _ in range(_MOST_OVERTAKEN):
            self.pull(batch)
            with suppress(OvertakenError):
                return attempt(self.edition(name, batch))
        raise OvertakenError(
            errno.EAGAIN,
            f"other machines write {name} of {batch or 'the library'} without a pause; run again",
        )

    def identity(self, name: str, batch: str | None = None) -> list[int] | list[str]:
        """Tell a table's file from any other, on all machines alike where there is a mirror."""
        etag = self.edition(name, batch)
        return identity(self.path(name, batch)) if etag is None else [etag.strip('"')]

    def fingerprint(self, tables: Sequence[str] = ("*",)) -> Mapping[str, list[int] | list[str]]:
        """Tell which files of some tables there are, and which edition of each.

        With a mirror by their etags, the same on all machines; else as `currency.fingerprint` does.
        """
        if self.mirror is None:
            return fingerprint(self.root, tables)
        etags = self.mirror.editions()
        names = (str(path.relative_to(self.root)) for path in files_of(self.root, tables))
        return {name: [etags[name]] for name in names if name in etags}

    def path(self, name: str, batch: str | None = None, *, version: str | None = None) -> Path:
        """Path of a table's file.

        Parameters
        ----------
        name : str
            A key of `schemas.RECORD`.
        batch : str, optional
            Partition key, for the tables that have partitions.
        version : str, optional
            Which one of the normalised tables or of the indexes; without it, the newest of that table.

        Returns
        -------
        Path
            The file, whether or not it exists.

        Raises
        ------
        RecordError
            The table or the key is not one of ours; keys become folder names.
        """
        if name not in RECORD or (batch is not None) != (name in BATCHED):
            raise RecordError(f"the record has no table {name!r} with batch {batch!r}")
        if name in VERSIONED:
            version = version or corpus_version(self.root, name) or NO_VERSION
            if not VERSION.fullmatch(version):
                raise RecordError(f"{version!r} is not a version (six digits or more)")
            return self.root / CORPUS / version / f"{name}.parquet"
        if batch is None:
            return self.root / name / "part.parquet"
        if not BATCH_KEY.fullmatch(batch):
            raise RecordError(
                f"{batch!r} is not a partition key (lower-case letters, digits, single hyphens)"
            )
        return self.root / name / f"batch={batch}" / "part.parquet"

    def matrix_path(self, version: str) -> Path:
        """Path of the vectors of a version, one row for each of its index."""
        return self.root / CORPUS / version / MATRIX

    def approximate_path(self, version: str) -> Path:
        """Path of the approximate index of a version, which only a large one has."""
        return self.root / CORPUS / version / APPROXIMATE

    def write(
        self,
        name: str,
        table: pa.Table,
        *,
        batch: str | None = None,
        version: str | None = None,
        metadata: dict[str, str] | None = None,
        onto: str | None = None,
    ) -> Path:
        """Write one table, or one batch of it, whole.

        Parameters
        ----------
        name, batch, version
            As for `path`.
        table : pa.Table
            The rows. Names and types must be those of the schema; only the manifest may have more.
        metadata : dict of str to str, optional
            Kept in the Parquet file.
        onto : str, optional
            The `edition` that the rows were made from.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        RecordError
            The rows do not have the schema. Under a glob the first file's types would win silently.
        StorageError
            The disk is full, or the folder cannot be written to; the former file is still in place.
        OvertakenError
            Another machine has written the table meanwhile; its file is in the store, the former one here.
        """
        _require_schema(name, table.schema)
        path = self.path(name, batch, version=version)
        with self._writing(path, onto) as temporary:
            write_parquet(table.replace_schema_metadata(metadata), temporary)
        return path

    def write_blocks(
        self, name: str, blocks: Iterable[pa.Table], *, version: str, metadata: dict[str, str]
    ) -> Path:
        """Write a version of a table whole, block by block; the arguments are those of `write`.

        Vectors hardly shrink, so nothing is compressed: it is written as fast as the disk takes it.
        """
        path = self.path(name, version=version)
        schema = arrow_schema(name).with_metadata(metadata)
        options = {"compression": "none", "use_dictionary": False, "write_statistics": _not_vectors(schema)}
        with self._writing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
            for block in blocks:
                _require_schema(name, block.schema)
                writer.write_table(block.replace_schema_metadata(metadata))
        return path

    def read(
        self,
        name: str,
        batch: str | None = None,
        *,
        version: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table | None:
        """Rows of a table or batch with the metadata they were written with; None where never written."""
        path = self.path(name, batch, version=version)
        wanted = None if columns is None else list(columns)
        # A batch is small: one thread reads it in half the CPU time that several take.
        return pq.ParquetFile(path).read(wanted, use_threads=batch is None) if path.exists() else None

    def read_where(self, name: str, column: str, value: str) -> pa.Table | None:
        """Read the rows of a table without batches where a column has a value; None where never written.

        Parts of the file that hold no such row, by the statistics in it, are left unread.
        """
        path = self.path(name)
        filters = [(column, "==", value)]
        return pq.read_table(path, filters=filters, partitioning=None) if path.exists() else None

    def read_blocks(
        self, name: str, columns: Sequence[str], *, version: str | None = None
    ) -> Iterator[pa.Table]:
        """Read some columns of a table without batches, block by block; nothing where never written."""
        path = self.path(name, version=version)
        if path.exists():
            file = pq.ParquetFile(path, pre_buffer=False)  # which would be of the whole file
            for batch in file.iter_batches(_BLOCK_ROWS, columns=list(columns)):
                yield pa.Table.from_batches([batch])

    def metadata(self, name: str, *, version: str | None = None) -> dict[str, str]:
        """Read what a table without batches was written with; empty where it was never written."""
        path = self.path(name, version=version)
        kept = pq.read_schema(path).metadata if path.exists() else None
        return {key.decode(): value.decode() for key, value in (kept or {}).items()}

    def n_rows(self, name: str, *, version: str | None = None) -> int:
        """Count the rows of a table without batches; 0 where it was never written."""
        path = self.path(name, version=version)
        return int(pq.read_metadata(path).num_rows) if path.exists() else 0

    def read_all(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Read some columns of all batches, batch after batch; far cheaper than one `read` for each."""
        return _together([self.path(name, batch) for batch in self.batches(name)], name, columns)

    def read_all_blocks(self, name: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read as `read_all` does, in the same order, but some batches at a time."""
        waiting: list[Path] = []
        n_bytes = 0
        for path in (self.path(name, batch) for batch in self.batches(name)):
            waiting.append(path)
            n_bytes += path.stat().st_size
            if n_bytes >= _BLOCK_BYTES:
                yield _together(waiting, name, columns)
                waiting, n_bytes = [], 0
        if waiting:
            yield _together(waiting, name, columns)

    def batches(self, name: str) -> list[str]:
        """Keys of the batches that a table has, sorted."""
        folders = (path.parent.name for path in (self.root / name).glob("batch=*/part.parquet"))
        return sorted(folder.removeprefix("batch=") for folder in folders)

    def new_version(self) -> str:
        """Take the next number for a normalised table and its index; no clock has a say in it."""
        last = next(reversed(corpus_versions(self.root)), NO_VERSION)
        with explained(self.root):
            for number in count(int(last) + 1):
                version = f"{number:06d}"
                with suppress(FileExistsError):  # another writer was quicker
                    (self.root / CORPUS / version).mkdir(parents=True)
                    if self.mirror is None or self.mirror.reserve(version):
                        return version
        raise AssertionError("numbers do not end")

    def version_in_force(self) -> str | None:
        """Newest version whose index is there, which is what readers see."""
        return corpus_version(self.root, IN_FORCE)

    def drafted_version(self) -> str | None:
        """Newest version with a normalised table, be it indexed or not."""
        return corpus_version(self.root, DRAFTED)

    def initialise(self) -> None:
        """Give every table a file with its schema, so that views work before anything is computed."""
        for name in RECORD:
            path = self.root / name / "schema.parquet" if name in BATCHED else self.path(name)
            # A column that is new here is NULL in older batches, but some file must have it.
            is_old = name in BATCHED and path.exists() and not pq.read_schema(path).equals(arrow_schema(name))
            if name not in VERSIONED and (is_old or not path.exists()):
                _write_empty(name, path)
        if self.version_in_force() is None:
            for name in VERSIONED:
                _write_empty(name, self.path(name, version=NO_VERSION))

    def drop_superseded_versions(self) -> list[Path]:
        """Remove superseded versions; the one before that in force stays, as a session may be reading it.

        Returns
        -------
        list of Path
            What was removed.
        """
        if self.mirror:
            self.mirror.drop_superseded_versions()
        dropped = []
        drafted, indexed = (corpus_versions(self.root, table) for table in VERSIONED)
        for version in superseded(corpus_versions(self.root), drafted, indexed):
            folder = self.root / CORPUS / version
            if not is_written_to(folder):
                (folder / f"{IN_FORCE}.parquet").unlink(missing_ok=True)  # so that no half of it is in force
                shutil.rmtree(folder, ignore_errors=True)
                dropped.append(folder)
        return dropped

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
            with explained(self.root):
                while not self._link_into(folder):
                    shutil.rmtree(folder)
            yield Record(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _writing(self, path: Path, onto: str | None = None) -> AbstractContextManager[Path]:
        return self.mirror.writing(path, onto) if self.mirror else atomic_path(path)

    def _link_into(self, folder: Path) -> bool:
        """Link all files into a folder; False where one was replaced meanwhile."""
        before = fingerprint(self.root)
        for name in before:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                hard_link(self.root / name, folder / name)
        return fingerprint(self.root) == before == fingerprint(folder)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a file of a batch, or another that is read whole.

    Vectors and features hardly repeat: with dictionaries of them, batches of vectors were 1.7 times as large.
    """
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    others = _not_vectors(table.schema)
    vectors = set(table.schema.names) - set(others)
    pq.write_table(
        table,
        path,
        compression="zstd",
        row_group_size=_GROUP_ROWS,
        use_dictionary=texts,
        write_statistics=others,
        column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in vectors},
    )


def _not_vectors(schema: pa.Schema) -> list[str]:
    """Columns of which the least and the greatest value may tell something."""
    return [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]


def _together(paths: Sequence[Path], name: str, columns: Sequence[str]) -> pa.Table:
    # Not as a stream: of thousands of files the scanner reads ahead a gigabyte (pyarrow, measured).
    dataset = ds.dataset([str(path) for path in paths], schema=arrow_schema(name), format="parquet")
    return dataset.to_table(columns=list(columns))


def _require_schema(name: str, schema: pa.Schema) -> None:
    expected = arrow_schema(name)
    got = pa.schema([schema.field(n) for n in expected.names if n in schema.names])
    exact = name == "track_manifest" or len(schema) == len(expected)
    if not (got.equals(expected) and exact):
        raise RecordError(f"rows for {name} have schema\n{schema}\nbut the record holds\n{expected}")


def _write_empty(name: str, path: Path) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(arrow_schema(name).empty_table(), temporary)
