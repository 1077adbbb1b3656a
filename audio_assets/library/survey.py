"""Looking at one track: where it is, what its bytes are, what its header and tags say.

`measure` runs in a worker process, since a damaged header can crash or hang the library that reads it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from audio_assets.audio import AudioLimits, playing_time_s, probe
from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.library.paths import locate

_HASH_BLOCK_BYTES = 1 << 20

# The easy key, and the ID3 frame for formats (wav, aiff) that mutagen has no easy view of.
_TAG_KEYS = {
    "title": ("title", "TIT2"),
    "artist": ("artist", "TPE1"),
    "album": ("album", "TALB"),
    "genre": ("genre", "TCON"),
    "year": ("date", "TDRC"),
}
TAG_NAMES = tuple(_TAG_KEYS)

#: Some title of a thousand files could be megabytes: all are held at once, and drawn on every page.
_MOST_TAG_CHARACTERS = 1_000


class StatKey(NamedTuple):
    """What decides, without reading a file, whether it may have changed since it was hashed.

    The change time is what makes it safe: a copy can be given any modification time, as unzipping and
    ``cp -p`` do, but not that.
    """

    size_bytes: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class Sighting:
    """A track to look at, with what is known of it from the last time.

    Parameters
    ----------
    song_id : str
        The track's id.
    audio_path : str
        Path as the manifest or the scan gives it.
    known_path, known_stat, known_sha256
        File, its size and times, and its content hash at the last visit; while the former stand, so does
        the hash.
    """

    song_id: str
    audio_path: str
    known_path: str | None = None
    known_stat: StatKey | None = None
    known_sha256: str | None = None


@dataclass(frozen=True)
class Measurement:
    """What was measured of one file; durations in seconds, rates in Hz."""

    file_path: str
    stat: StatKey
    content_sha256: str
    duration_s: float | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    codec: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    rejection: TrackFailure | None = None


def measure(root: Path, limits: AudioLimits, sighting: Sighting) -> Measurement:
    """Hash a track and read its header and tags.

    Parameters
    ----------
    root : Path
        Library root.
    limits : AudioLimits
        What counts as too long, too short or absurd.
    sighting : Sighting
        The track.

    Returns
    -------
    Measurement
        With ``rejection`` set where the bytes are there but the header says they cannot be analysed.

    Raises
    ------
    TrackFailure
        The file cannot be found or read.
    """
    relative = locate(root, sighting.audio_path)
    path = root / relative
    stat = stat_key(path)
    known = (sighting.known_path, sighting.known_stat)
    if sighting.known_sha256 is not None and known == (relative.as_posix(), stat):
        sha256 = sighting.known_sha256
    else:
        sha256 = _content_sha256(path)
        if stat_key(path) != stat:
            raise TrackFailure(FailureCode.CHANGED_WHILE_READING, f"{relative} is still being written")
    try:
        header = probe(path, limits)
    except TrackFailure as failure:
        return Measurement(relative.as_posix(), stat, sha256, rejection=failure)
    return Measurement(
        relative.as_posix(),
        stat,
        sha256,
        playing_time_s(path, header),
        header.sample_rate_hz,
        header.channels,
        header.codec,
        read_tags(path),
    )


def stat_key(path: Path) -> StatKey:
    """Size and modification time of a file.

    Raises
    ------
    TrackFailure
        ``missing`` or ``unreadable``.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise TrackFailure(FailureCode.MISSING, f"{path.name} has disappeared") from error
    except OSError as error:
        raise TrackFailure(FailureCode.UNREADABLE, f"{path.name}: {error}") from error
    return StatKey(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _content_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_HASH_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise TrackFailure(FailureCode.UNREADABLE, f"{path.name}: {error}") from error
    return digest.hexdigest()


def read_tags(path: Path) -> dict[str, str]:
    """Title, artist, album, genre and year, as far as the file has them.

    Parameters
    ----------
    path : Path
        An audio file of any format that mutagen reads.

    Returns
    -------
    dict of str to str
        Tag name to value; several values are joined by ``;``, and a longer one ends after 1,000 characters.
        Tags that cannot be parsed do not stop a track from being analysed, so they count as absent.
    """
    import mutagen

    try:
        tagged = mutagen.File(path, easy=True)
        tags = None if tagged is None else tagged.tags
        found = {} if tags is None else {name: _tag_text(tags, keys) for name, keys in _TAG_KEYS.items()}
    # Beside its own errors mutagen lets through what it meets in damaged tags: IndexError, struct.error,
    # zlib.error; and MemoryError, where a picture claims gigabytes or a compressed title becomes some.
    except Exception:  # noqa: BLE001
        return {}
    return {name: text for name, text in found.items() if text}


def _tag_text(tags: Mapping[str, Iterable[object]], keys: tuple[str, ...]) -> str:
    for key in keys:
        # Asked by membership: mutagen's easy wrappers raise for a key their format does not know.
        if key in tags:
            values = (str(value)[:_MOST_TAG_CHARACTERS] for value in islice(tags[key], _MOST_TAG_CHARACTERS))
            texts = (text.replace("\0", "").strip() for text in values)
            return ";".join(text for text in texts if text)[:_MOST_TAG_CHARACTERS]
    return ""
