"""Vectors as one ``.npy`` file: written in any order without holding them, and mapped to be read.

What belongs here: the bytes of the file. What does not: which vectors these are (``corpus``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from audio_assets.warehouse.files import atomic_path

Vectors = npt.NDArray[np.float32]

_TYPE = np.dtype("<f4")
_ROWS_AT_ONCE = 8_192


class MatrixWriter:
    """A float32 matrix in the making.

    Parameters
    ----------
    file : binary file
        New, open to read and write.
    n_rows, n_dims : int
        Shape.
    """

    def __init__(self, file: BinaryIO, n_rows: int, n_dims: int) -> None:
        self._file = file
        self._n_rows = n_rows
        self._n_dims = n_dims
        self._write_header()
        self._first_byte = file.tell()
        file.truncate(self._byte(n_rows))

    def put(self, rows: npt.NDArray[np.int64], vectors: Vectors) -> None:
        """Write vectors, shape (m, n_dims), to rows, shape (m,), of which none comes twice."""
        order = np.argsort(rows)
        runs = np.flatnonzero(np.diff(rows[order]) != 1) + 1
        for run in np.split(order, runs):
            if len(run):
                self._file.seek(self._byte(rows[run[0]]))
                self._file.write(np.ascontiguousarray(vectors[run], _TYPE).data)

    def drop(self, dropped: npt.NDArray[np.bool_]) -> None:
        """Leave rows out, by a mask of shape (n_rows,); those behind move up."""
        n_kept = 0
        for start, block in self.blocks():
            vectors = block[~dropped[start : start + len(block)]]
            self.put(np.arange(n_kept, n_kept + len(vectors)), vectors)
            n_kept += len(vectors)
        self._n_rows = n_kept
        self._file.truncate(self._byte(n_kept))
        self._write_header()

    def blocks(self) -> Iterator[tuple[int, Vectors]]:
        """Read what was put, in the order of the rows, some thousand at a time.

        Yields
        ------
        start : int
            Row of the first of them. All rows up to the last of them may be put anew meanwhile.
        vectors : ndarray of float32, shape (m, n_dims)
            Not to be written to.
        """
        for start in range(0, self._n_rows, _ROWS_AT_ONCE):
            n_rows = min(_ROWS_AT_ONCE, self._n_rows - start)
            self._file.seek(self._byte(start))
            flat = np.frombuffer(self._file.read(n_rows * self._n_dims * _TYPE.itemsize), _TYPE)
            yield start, flat.reshape(n_rows, self._n_dims)

    def _byte(self, row: int) -> int:
        return self._first_byte + int(row) * self._n_dims * _TYPE.itemsize

    def _write_header(self) -> None:
        """Of the same length whatever the number of rows, as numpy leaves room for it to grow."""
        self._file.seek(0)
        shape = (self._n_rows, self._n_dims)
        header = {"descr": _TYPE.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


@contextmanager
def write_matrix(path: Path, n_rows: int, n_dims: int) -> Iterator[MatrixWriter]:
    """Write a matrix; it is in place, whole, when the block ends.

    Parameters
    ----------
    path : Path
        File to write or replace.
    n_rows, n_dims : int
        Shape; rows that are never put are zero.

    Yields
    ------
    MatrixWriter
        Takes the rows.

    Raises
    ------
    StorageError
        The disk is full, or the folder cannot be written to.
    """
    with atomic_path(path) as temporary, temporary.open("w+b") as file:
        yield MatrixWriter(file, n_rows, n_dims)


def map_matrix(path: Path) -> Vectors | None:
    """Map a matrix into memory, to be read as it is used; None where there is no such file."""
    if not path.exists():
        return None
    matrix: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return matrix
