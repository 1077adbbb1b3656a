"""Where the files of a record lie that belong together, and which of them are in force.

What belongs here: names and listing. What does not: reading or writing a file (``record``).
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

CORPUS = "corpus"
DRAFTED = "clap_embeddings_normalized"
IN_FORCE = "retrieval_index"

#: Files of a version beside its tables: the vectors to search, and an approximate index of many of them.
MATRIX = "vectors.npy"
APPROXIMATE = "approximate.faiss"

_SUFFIX = ".parquet"
_BESIDE = {DRAFTED: (MATRIX,), IN_FORCE: (MATRIX, APPROXIMATE), "*": (MATRIX, APPROXIMATE)}


def identity(path: Path) -> list[int]:
    """Tell one file from another: modification time in ns, size in bytes and inode.

    A file that is replaced gets another inode, whatever the clock says.
    """
    status = path.stat()
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def corpus_versions(root: Path, table: str | None = None) -> list[str]:
    """Versions of the normalised table and its index, oldest first.

    Parameters
    ----------
    root : Path
        Folder of the record.
    table : str, optional
        Only versions that have this table.
    """
    pattern = f"{CORPUS}/*/{table}{_SUFFIX}" if table else f"{CORPUS}/*"
    names = (path.relative_to(root).parts[1] for path in root.glob(pattern))
    return sorted((name for name in names if name.isdecimal()), key=int)


def corpus_version(root: Path, table: str) -> str | None:
    """Newest version that has a table; None where there is none."""
    return next(reversed(corpus_versions(root, table)), None)


def files_of(root: Path, tables: Iterable[str]) -> Iterator[Path]:
    """Files that make up some tables now.

    Parameters
    ----------
    root : Path
        Folder of the record.
    tables : iterable of str
        Tables that count. `*` is all of them as a reader sees them, so with the versions that are in force;
        the normalised table by its own name is the newest one, be it indexed or not.

    Yields
    ------
    Path
        Each file.
    """
    for table in tables:
        if table in (DRAFTED, IN_FORCE):
            yield from _of_version(root, corpus_version(root, table), table)
        else:
            yield from _outside_corpus(root, table)
        if table == "*":
            yield from _of_version(root, corpus_version(root, IN_FORCE), "*")


def below(folder: Path) -> Iterator[Path]:
    """List all files and folders below one.

    Others write and sweep meanwhile. A folder that goes before it was listed is left out, where ``rglob``
    ends with an error.
    """
    for parent, folders, files in os.walk(folder, onerror=_unless_gone):
        yield from (Path(parent) / name for name in (*folders, *files))


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _outside_corpus(root: Path, table: str) -> Iterator[Path]:
    for folder in root.glob(table):
        if folder.is_dir() and folder.name not in (CORPUS, DRAFTED, IN_FORCE):  # and no lock
            yield from (path for path in below(folder) if path.suffix == _SUFFIX)


def _of_version(root: Path, version: str | None, table: str) -> Iterator[Path]:
    if version:
        folder = root / CORPUS / version
        yield from folder.glob(f"{table}{_SUFFIX}")
        yield from (path for name in _BESIDE[table] if (path := folder / name).exists())
