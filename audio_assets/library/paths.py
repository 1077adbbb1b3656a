"""Confinement: turning the path a manifest names into a regular file under the library root.

Manifest paths are untrusted text from somebody else's computer. Everything that opens a track asks
`locate` first; nothing else in the project turns manifest text into a path.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from audio_assets.failures import FailureCode, TrackFailure

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")

#: Longer than Linux opens. Each tail of a path is looked for, so of a longer one that would take minutes.
_MOST_CHARACTERS = 4_096
_SHOWN = 200

_ESCAPED_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


def escaped_name(path: str) -> str:
    """Text of a path as the system gave it; a byte that is no UTF-8 becomes a backslash and ``udcff``."""
    return path.encode(errors="backslashreplace").decode()


def unescaped_name(text: str) -> str:
    """Path that `escaped_name` made a text of."""
    return _ESCAPED_BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)


def locate(root: Path, audio_path: str) -> Path:
    """Find the file that a manifest's ``audio_path`` means, below the library root.

    A relative path is taken below the root. An absolute path from another computer is matched by its
    longest tail of folder and name that exists below the root (``/Users/x/audio/Q4/A002.mp3`` →
    ``<root>/Q4/A002.mp3``), so a library can be moved without editing the manifest.

    Parameters
    ----------
    root : Path
        The library root.
    audio_path : str
        The path as the manifest gives it: POSIX or Windows, relative or absolute.

    Returns
    -------
    Path
        Path of a regular file, relative to the root, symbolic links resolved.

    Raises
    ------
    TrackFailure
        ``unsupported_path`` (blank, a URL, a NUL byte, a name that is not UTF-8), ``outside_root``,
        ``missing``, ``not_a_file`` or ``unreadable``.
    """
    root = root.resolve()
    _refuse_unsupported(audio_path)
    if ".." in (*PurePosixPath(audio_path).parts, *_windows_parts(audio_path)):
        raise TrackFailure(FailureCode.OUTSIDE_ROOT, f"{audio_path!r} climbs out of its folder with '..'")
    try:
        paths = ("/".join((str(root), *parts)) for parts in _candidates(root, audio_path))
        found = next((path for path in paths if _exists(path)), None)
        if found is None:
            raise _not_found(root, audio_path)
        resolved = Path(found).resolve(strict=True)
        mode = resolved.stat().st_mode
    except PermissionError as error:
        raise TrackFailure(FailureCode.UNREADABLE, f"no permission to look at {audio_path!r}") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise TrackFailure(FailureCode.UNREADABLE, f"{audio_path!r}: {error}") from error
    if not resolved.is_relative_to(root):
        raise TrackFailure(FailureCode.OUTSIDE_ROOT, f"{audio_path!r} is a link out of the library root")
    if not stat.S_ISREG(mode):
        raise TrackFailure(FailureCode.NOT_A_FILE, f"{audio_path!r} is not a regular file")
    return resolved.relative_to(root)


def _refuse_unsupported(audio_path: str) -> None:
    if not audio_path.strip():
        raise TrackFailure(FailureCode.UNSUPPORTED_PATH, "the manifest names no audio path")
    if len(audio_path) > _MOST_CHARACTERS:
        raise TrackFailure(
            FailureCode.MISSING,
            f"no file has a path of {len(audio_path)} characters: {audio_path[:_SHOWN]!r}...",
        )
    if _URL.match(audio_path):
        raise TrackFailure(
            FailureCode.UNSUPPORTED_PATH, f"{audio_path!r} is a URL; only local files are read"
        )
    if "\0" in audio_path:
        raise TrackFailure(FailureCode.UNSUPPORTED_PATH, "the path contains a NUL byte")
    try:
        audio_path.encode()
    except UnicodeEncodeError as error:
        raise TrackFailure(FailureCode.UNSUPPORTED_PATH, f"{audio_path!r} is not valid UTF-8") from error


def _parts_below_anchor(root: Path, audio_path: str) -> tuple[str, ...]:
    """Path components without the anchor; a path below the root loses the root as well."""
    posix = PurePosixPath(audio_path)
    if posix.is_relative_to(root):
        return posix.relative_to(root).parts
    return posix.parts[1:] if posix.is_absolute() else posix.parts


def _windows_parts(audio_path: str) -> tuple[str, ...]:
    """Components of what may be a path of Windows, without drive and anchor; none of what cannot be one."""
    windows = PureWindowsPath(audio_path)
    if windows.drive or ("\\" in audio_path and "/" not in audio_path):
        return windows.parts[1:] if windows.anchor else windows.parts
    return ()


def _candidates(root: Path, audio_path: str) -> Iterator[tuple[str, ...]]:
    """Components below the root that a path may mean, the likeliest first."""
    posix = _parts_below_anchor(root, audio_path)
    windows = _windows_parts(audio_path)
    # A name of this computer may hold a backslash or begin like a drive: then the file itself is meant.
    yield posix
    if windows:
        yield windows
    if _is_foreign(root, audio_path):
        # A tail has its folder in it: "01.wav" alone would match another album's.
        parts = windows or posix
        for start in range(1, len(parts) - 1):
            yield parts[start:]


def _is_foreign(root: Path, audio_path: str) -> bool:
    absolute = PurePosixPath(audio_path).is_absolute() or bool(PureWindowsPath(audio_path).anchor)
    return absolute and not PurePosixPath(audio_path).is_relative_to(root)


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # no such file can exist
            return False
        raise
    return True


def _not_found(root: Path, audio_path: str) -> TrackFailure:
    if _is_foreign(root, audio_path) and _exists(audio_path):
        return TrackFailure(FailureCode.OUTSIDE_ROOT, f"{audio_path!r} lies outside the library root {root}")
    if _ESCAPED_BYTE.search(audio_path) and _exists(os.path.join(root, unescaped_name(audio_path))):  # noqa: PTH118
        return TrackFailure(
            FailureCode.UNSUPPORTED_PATH, f"the name of {audio_path!r} is not UTF-8; give the file another"
        )
    return TrackFailure(FailureCode.MISSING, f"no file for {audio_path!r} below the library root {root}")
