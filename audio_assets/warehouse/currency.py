"""Which files the record consists of, and which version of each, so that what is built of it can go stale."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from audio_assets.warehouse.layout import files_of, identity


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
        Relative path to modification time in ns, size in bytes and inode. A file that is replaced gets
        another inode, whatever the clock says. Versions of the index that are not in force do not count.
    """
    found = {}
    for path in files_of(root, tables):
        with suppress(FileNotFoundError):  # replaced between listing and looking
            found[str(path.relative_to(root))] = identity(path)
    return found
