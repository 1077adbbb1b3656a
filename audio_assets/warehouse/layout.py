"""Where the files of a record lie that belong together, and which of them are in force.

What belongs here: names and listing. What does not: reading or writing a file (``record``).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

CORPUS = "corpus"
DRAFTED = "clap_embeddings_normalized"
IN_FORCE = "retrieval_index"

_SUFFIX = ".parquet"


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


def files_in_force(root: Path, tables: Iterable[str]) -> Iterator[Path]:
    """Files that make up the tables as a reader sees them now; `*` stands for every table."""
    wanted = set(tables)
    for table in wanted - {DRAFTED, IN_FORCE}:
        for path in root.glob(f"{table}/**/*{_SUFFIX}"):
            if path.relative_to(root).parts[0] not in (CORPUS, DRAFTED, IN_FORCE):
                yield path
    version = corpus_version(root, IN_FORCE)
    if version and wanted & {"*", DRAFTED, IN_FORCE}:
        yield from (root / CORPUS / version).glob(f"*{_SUFFIX}")
