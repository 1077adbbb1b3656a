"""Whether what was built of the record was built of the record as it is now.

A build is marked with the fingerprint of its inputs, taken before it began, and only once it has passed its
checks. So a change during a build, a crash after it or a failed check all make the next run build again.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from audio_assets.warehouse.files import atomic_path
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


def is_current(data_dir: Path, build: str, inputs: dict[str, list[int]]) -> bool:
    """Whether a build was last made, and approved, from these very inputs."""
    mark = _mark(data_dir, build)
    return mark.exists() and json.loads(mark.read_text(encoding="utf-8")) == inputs


def mark_current(data_dir: Path, build: str, inputs: dict[str, list[int]]) -> None:
    """Note that a build has succeeded.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    build : str
        Name of the build.
    inputs : dict
        Fingerprint of what it was made of, taken before it began.
    """
    with atomic_path(_mark(data_dir, build)) as temporary:
        temporary.write_text(json.dumps(inputs), encoding="utf-8")


def _mark(data_dir: Path, build: str) -> Path:
    return data_dir / "built" / f"{build}.json"
