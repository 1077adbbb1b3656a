"""Walking a folder for audio files, and giving each one an id that does not depend on the root."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

#: Formats that can be decoded.
AUDIO_SUFFIXES = frozenset(
    {
        *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".aif", ".aiff", ".caf"),
        *(".au", ".ape", ".wv", ".mpc", ".tta", ".wma", ".mka", ".webm"),
    }
)

#: Music that is a score and not samples. Named all the same, so that it is recorded as undecodable: nobody
#: should have to find out by counting which of their files were passed over.
SCORE_SUFFIXES = frozenset({".mid", ".midi", ".mod", ".xm", ".it", ".s3m"})

#: Folders of file systems, which belong to nobody's music and often cannot be listed.
_SYSTEM_FOLDERS = frozenset({"lost+found", "$RECYCLE.BIN", "System Volume Information"})

_NOT_WORD = re.compile(r"[^a-z0-9]+")


def discover(root: Path) -> Iterator[PurePosixPath]:
    """Music files below a folder, in a stable order.

    Hidden files and folders are passed over, and so are symbolic links to folders: they make loops
    and lead out of the root.

    Parameters
    ----------
    root : Path
        The library root.

    Yields
    ------
    PurePosixPath
        Path relative to the root.

    Raises
    ------
    OSError
        A folder cannot be listed: a part of the library that cannot be seen is not an empty one.
    """
    folders = [root]
    while folders:  # not os.walk, which before Python 3.12 recurses, and fails a thousand folders down
        with os.scandir(folders.pop()) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        below = [entry for entry in entries if _is_folder(entry)]
        names = {entry.name for entry in below}
        for entry in entries:
            if entry.name not in names and _is_music(entry.name):
                yield PurePosixPath(Path(entry.path).relative_to(root).as_posix())
        folders += [Path(entry.path) for entry in reversed(below) if _is_entered(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_entered(folder: os.DirEntry[str]) -> bool:
    return not (folder.is_symlink() or folder.name.startswith(".") or folder.name in _SYSTEM_FOLDERS)


def _is_music(name: str) -> bool:
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES | SCORE_SUFFIXES


def song_id_for(relative_path: PurePosixPath, attempt: int = 0) -> str:
    """Id of a scanned file: readable, and the same wherever the root is mounted.

    Parameters
    ----------
    relative_path : PurePosixPath
        Path relative to the library root.
    attempt : int
        Counts up where the id of the path belongs to another track already.

    Returns
    -------
    str
        The file's name as ``[a-z0-9-]`` and eight hex digits of the path's SHA-256.
    """
    slug = _NOT_WORD.sub("-", relative_path.stem.lower()).strip("-")[:48] or "track"
    salt = f"\0{attempt}" if attempt else ""
    digest = hashlib.sha256(os.fsencode(str(relative_path) + salt)).hexdigest()[:8]
    return f"{slug}-{digest}"
