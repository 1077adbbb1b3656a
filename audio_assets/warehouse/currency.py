"""Which files the record consists of, and which version of each, so that what is built of it can go stale."""

from collections.abc import Sequence
from pathlib import Path

_SUFFIX = ".parquet"


def fingerprint(root: Path, tables: Sequence[str] = ("*",)) -> dict[str, list[int]]:
    """Which files of the record there are, and which version of each.

    Parameters
    ----------
    root : Path
        Folder of the record.
    tables : sequence of str
        Tables that count.

    Returns
    -------
    dict of str to list of int
        Relative path to modification time in ns and size in bytes.
    """
    found = {}
    for table in tables:
        for path in root.glob(f"{table}/**/*{_SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:  # pragma: no cover - replaced between listing and looking
                continue
            found[str(path.relative_to(root))] = [status.st_mtime_ns, status.st_size]
    return found
