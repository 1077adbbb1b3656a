"""NPZ files of vectors, written and read block by block: the byte layout of ``numpy.savez``.

What belongs here: the bytes of the file. What does not: which vectors these are (``exports``).
"""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_assets.warehouse.files import atomic_path

Vectors = npt.NDArray[np.float32]

_TYPE = np.dtype("<f4")
_ROWS_AT_ONCE = 4_096
_VECTORS = "embeddings.npy"


def write_npz(
    path: Path,
    track_ids: npt.NDArray[np.str_],
    blocks: Iterable[Vectors],
    n_dims: int,
    **others: npt.NDArray[np.generic],
) -> int:
    """Write ids and vectors; the file is in place, whole, or not at all.

    Parameters
    ----------
    path : Path
        File to write or replace.
    track_ids : ndarray of str, shape (n,)
        Id of each row.
    blocks : iterable of ndarray of float32
        The rows one after the other, n in all; of any shape.
    n_dims : int
        Length of a vector.
    **others : ndarray
        Small arrays to write beside them, by name.

    Returns
    -------
    int
        Rows written.
    """
    header = {"descr": _TYPE.str, "fortran_order": False, "shape": (len(track_ids), n_dims)}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in {"track_ids": track_ids, **others}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        with archive.open(_VECTORS, "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(np.ascontiguousarray(block, _TYPE).data.cast("B"))
    return len(track_ids)


def read_npz(path: Path) -> Iterator[tuple[npt.NDArray[np.str_], Vectors]]:
    """Read ids and vectors back.

    Parameters
    ----------
    path : Path
        File that `write_npz`, or ``numpy.savez``, wrote.

    Yields
    ------
    track_ids : ndarray of str, shape (m,)
        Ids of a block of rows.
    vectors : ndarray of float32, shape (m, d)
        Their vectors.
    """
    with np.load(path, allow_pickle=False) as members:
        track_ids = members["track_ids"]
    with zipfile.ZipFile(path) as archive, archive.open(_VECTORS) as file:
        np.lib.format.read_magic(file)
        (n_rows, n_dims), _, dtype = np.lib.format.read_array_header_1_0(file)
        for start in range(0, n_rows, _ROWS_AT_ONCE):
            ids = track_ids[start : start + _ROWS_AT_ONCE]
            flat = np.frombuffer(file.read(len(ids) * n_dims * dtype.itemsize), dtype)
            yield ids, flat.reshape(len(ids), n_dims)
