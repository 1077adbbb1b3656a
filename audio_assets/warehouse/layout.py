"""Where the files of a record lie that belong together, and which of them are in force.

What belongs here: names and listing. What does not: reading or writing a file (``record``).
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

CORPUS = "corpus"
DRAFTED = "clap_embeddings_normalized"
IN_FORCE = "retrieval_index"

BATCHED = ("audio_features", "clap_embeddings")
VERSIONED = (DRAFTED, IN_FORCE)
BATCH_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION = re.compile(r"[0-9]{6,}")
#: Empty tables, made where there is no version yet.
NO_VERSION = "000000"

#: The one in force, and the one that a session or a snapshot may just be reading.
KEPT_VERSIONS = 2

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


def superseded(versions: Sequence[str], drafted: Sequence[str], indexed: Sequence[str]) -> list[str]:
    """Versions that nobody needs any more.

    Drafts that failed their checks go as well; not the two newest, of which one may just be indexed.

    Parameters
    ----------
    versions, drafted, indexed : sequence of str
        All versions, those with a normalised table, and those with an index, oldest first.

    Returns
    -------
    list of str
        Those that are older than the newest draft, and not kept.
    """
    drafts = drafted[-KEPT_VERSIONS:]
    kept = {*indexed[-KEPT_VERSIONS:], *drafts}
    newest = int(drafts[-1]) if drafts else 0
    return [version for version in versions if int(version) < newest and version not in kept]


def beside(folder: Path, table: str) -> list[Path]:
    """Files, there or not, that have to be in place before a table of a version is."""
    return [folder / name for name in _BESIDE[table]]


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
        yield from (path for path in beside(folder, table) if path.exists())
