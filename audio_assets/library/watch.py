"""Noticing that a library has changed, from names, sizes and times alone.

Nothing is opened but the recipe. What the changes are is for the intake to find out.
"""

import hashlib
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audio_assets.library.discovery import discover
from audio_assets.library.paths import escaped_name


@dataclass(frozen=True)
class Listing:
    """What a look at names, sizes and times gave.

    Parameters
    ----------
    signature : str
        The same as long as no settled file comes, goes or changes.
    n_files : int
        Files that have settled.
    settling : frozenset of str
        Files that were written to a moment ago, as paths relative to the root: somebody may still be
        copying them.
    """

    signature: str
    n_files: int
    settling: frozenset[str]


def list_library(root: Path, manifest: Path | None, settle_s: float, now_s: float) -> Listing:
    """Look at the names, sizes and times of all files of a library.

    Parameters
    ----------
    root, manifest
        The library, as for `read_source`.
    settle_s : float
        How long a file has to have been left alone, by its change time.
    now_s : float
        Time since 1970. A file from the future counts as settled, or a clock that was set back would
        keep it waiting.

    Returns
    -------
    Listing
        What was seen.

    Raises
    ------
    OSError
        A folder cannot be listed.
    """
    digest = hashlib.sha256()
    settling = set()
    n_files = 0
    for name, path in _watched(root.resolve(), manifest):
        status = _stat(path)
        if status is not None and 0 <= now_s - status.st_ctime < settle_s:
            settling.add(name)
            continue
        n_files += 1
        facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns) if status else ()
        digest.update(os.fsencode(f"{name}\0{facts}\0"))
    return Listing(digest.hexdigest(), n_files, frozenset(settling))


def _watched(root: Path, manifest: Path | None) -> Iterator[tuple[str, Path]]:
    for relative in discover(root):
        yield escaped_name(str(relative)), root / relative
    if manifest is not None:
        for path in (manifest, *_tables_of(manifest)):
            yield str(path), path


def _tables_of(manifest: Path) -> Iterator[Path]:
    """Tables that a recipe reads; one that cannot be parsed is the intake's to complain about."""
    if manifest.suffix.lower() != ".toml":
        return
    try:
        recipe = tomllib.loads(manifest.read_text(encoding="utf-8"))
        tables = [recipe.get("metadata"), *recipe.get("join", ())]
    except (OSError, ValueError, TypeError, RecursionError):
        return
    for table in tables:
        if isinstance(table, dict) and isinstance(table.get("path"), str):
            yield manifest.parent / table["path"]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # a link to nothing, gone since it was listed, a NUL: facts like any other
        return None
