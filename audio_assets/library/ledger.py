"""The ledger: what became of every track the library ever had, and which batch it is in.

A batch, once numbered, never changes its members: results are stored per batch, and a batch that moved
tracks around would have to recompute them. New tracks open new batches; a track that leaves is marked
removed and keeps its place, in case it comes back.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import PurePosixPath
from typing import Literal

from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.library.discovery import song_id_for
from audio_assets.library.survey import Measurement, Sighting, StatKey

BATCH_SIZE = 256

Status = Literal["live", "rejected", "missing", "removed"]


class LibraryVanishedError(Exception):
    """Every track that was there is gone at once: more likely an unmounted drive than a deletion."""


@dataclass(frozen=True)
class Entry:
    """One track of the ledger; the field names are the columns of the ``manifest`` table.

    ``status`` is ``live`` (to be analysed), ``rejected`` (there, but its path, bytes or header rule it
    out), ``missing`` (named by the manifest, not on disk) or ``removed`` (no longer named at all).
    ``duration_s`` is
    by header or packets, before anything is decoded; ``changed_at`` is when anything else last changed.
    """

    song_id: str
    audio_path: str
    status: Status
    batch: str | None = None
    file_path: str | None = None
    duration_s: float | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    codec: str | None = None
    size_bytes: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    content_sha256: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    changed_at: dt.datetime | None = None

    @property
    def stat(self) -> StatKey | None:
        """Size and times of the file when its content was hashed; None for one never seen."""
        if self.size_bytes is None or self.mtime_ns is None or self.ctime_ns is None:
            return None
        return StatKey(self.size_bytes, self.mtime_ns, self.ctime_ns)

    def sighting(self, song_id: str, audio_path: str) -> Sighting:
        """Give what to look at this time, with what the ledger knows."""
        return Sighting(song_id, audio_path, self.file_path, self.stat, self.content_sha256)


@dataclass(frozen=True)
class Seen:
    """One named track and what looking at it gave."""

    song_id: str
    audio_path: str
    outcome: Measurement | TrackFailure


def update_ledger(
    previous: Mapping[str, Entry],
    seen: Iterable[Seen],
    *,
    batch_size: int = BATCH_SIZE,
    ids_follow_content: bool = False,
    now: dt.datetime,
) -> dict[str, Entry]:
    """Merge what was seen into the ledger, and put new live tracks into new batches.

    Parameters
    ----------
    previous : mapping of str to Entry
        The ledger so far, by ``song_id``.
    seen : iterable of Seen
        Every track the manifest or scan names now.
    batch_size : int
        Most tracks in a new batch.
    ids_follow_content : bool
        True for a scanned folder, whose files get their ids here: a file at a new path whose content is
        that of one that has gone, now or earlier, is the same track, moved, and keeps its id and results.
    now : datetime
        Time to record.

    Returns
    -------
    dict of str to Entry
        The new ledger: the named tracks in their order, then the removed ones.

    Raises
    ------
    LibraryVanishedError
        There were live tracks, and not one is left.
    """
    tracks = list(seen)
    if ids_follow_content:
        tracks = _with_ids(previous, tracks)
    ledger = {track.song_id: _entry(previous.get(track.song_id), track, now) for track in tracks}
    _refuse_vanished(previous, ledger)
    for song_id, entry in previous.items():
        if song_id not in ledger:
            ledger[song_id] = _removed(entry, now)
    return _with_batches(ledger, batch_size)


def entries_by_path(previous: Iterable[Entry]) -> dict[str, Entry]:
    """Find entries by the path they were last seen at, those still named before those removed."""
    entries = sorted(previous, key=lambda entry: entry.status == "removed")
    found: dict[str, Entry] = {}
    for entry in entries:
        found.setdefault(entry.audio_path, entry)
    return found


def _with_ids(previous: Mapping[str, Entry], tracks: list[Seen]) -> list[Seen]:
    """Give scanned files their ids: that of their path, else that of their moved content, else a new one."""
    ids = {path: entry.song_id for path, entry in entries_by_path(previous.values()).items()}
    gone = _gone_by_content(previous.values(), {track.audio_path for track in tracks})
    new = [track for track in tracks if track.audio_path not in ids]
    # A file that was renamed has kept its time, unlike a copy of it that was made before anybody looked.
    for is_it in (_is_of_same_time, lambda track, entry: True):
        for track in new:
            entries = gone.get(_content(track), [])
            known = next((entry for entry in entries if is_it(track, entry)), None)
            if known and track.audio_path not in ids:
                entries.remove(known)
                ids[track.audio_path] = known.song_id
    taken = set(previous)
    identified = []
    for track in tracks:
        song_id = ids.get(track.audio_path) or _unused_id(track.audio_path, taken)
        taken.add(song_id)
        identified.append(replace(track, song_id=song_id))
    return identified


def _gone_by_content(previous: Iterable[Entry], paths: set[str]) -> dict[str | None, list[Entry]]:
    """Group tracks whose path is gone by content, the latest to go first; two copies may move at once.

    One that went earlier counts too: a file that moves while others are copied is seen neither at its old
    path nor, until it has settled, at its new one.
    """
    found: dict[str | None, list[Entry]] = {}
    for entry in sorted(previous, key=lambda entry: entry.status == "removed"):
        if entry.audio_path not in paths and entry.content_sha256 is not None:
            found.setdefault(entry.content_sha256, []).append(entry)
    return found


def _is_of_same_time(track: Seen, entry: Entry) -> bool:
    return isinstance(track.outcome, Measurement) and track.outcome.stat.mtime_ns == entry.mtime_ns


def _content(track: Seen) -> str | None:
    return track.outcome.content_sha256 if isinstance(track.outcome, Measurement) else None


def _unused_id(audio_path: str, taken: set[str]) -> str:
    """Id of a path; another one where a track that moved away has kept it."""
    ids = (song_id_for(PurePosixPath(audio_path), attempt) for attempt in count())
    return next(song_id for song_id in ids if song_id not in taken)


def _entry(old: Entry | None, track: Seen, now: dt.datetime) -> Entry:
    entry = _new_entry(old, track, now)
    # An entry that says the same as before is the entry from before: nothing downstream need look at it.
    return old if old and replace(entry, changed_at=old.changed_at) == old else entry


def _new_entry(old: Entry | None, track: Seen, now: dt.datetime) -> Entry:
    batch = old.batch if old else None
    outcome = track.outcome
    if isinstance(outcome, TrackFailure):
        status: Status = "missing" if outcome.code == FailureCode.MISSING else "rejected"
        known = old or Entry(track.song_id, track.audio_path, status)
        return replace(
            known,
            audio_path=track.audio_path,
            status=status,
            failure_code=str(outcome.code),
            failure_message=outcome.message,
            changed_at=now,
        )
    rejection = outcome.rejection
    return Entry(
        song_id=track.song_id,
        audio_path=track.audio_path,
        status="rejected" if rejection else "live",
        batch=batch,
        file_path=outcome.file_path,
        duration_s=outcome.duration_s,
        sample_rate_hz=outcome.sample_rate_hz,
        channels=outcome.channels,
        codec=outcome.codec,
        size_bytes=outcome.stat.size_bytes,
        mtime_ns=outcome.stat.mtime_ns,
        ctime_ns=outcome.stat.ctime_ns,
        content_sha256=outcome.content_sha256,
        failure_code=str(rejection.code) if rejection else None,
        failure_message=rejection.message if rejection else None,
        changed_at=now,
    )


def _removed(entry: Entry, now: dt.datetime) -> Entry:
    if entry.status == "removed":
        return entry
    return replace(entry, status="removed", failure_code=None, failure_message=None, changed_at=now)


def _refuse_vanished(previous: Mapping[str, Entry], ledger: Mapping[str, Entry]) -> None:
    before = sum(entry.status == "live" for entry in previous.values())
    if before and not any(entry.status in ("live", "rejected") for entry in ledger.values()):
        raise LibraryVanishedError(
            f"all {before} tracks of the library have vanished at once; the ledger is left as it was. "
            "Check that the drive is mounted and the library root is right. If the tracks are really gone, "
            "start a new data folder."
        )


def _with_batches(ledger: dict[str, Entry], batch_size: int) -> dict[str, Entry]:
    new = [entry for entry in ledger.values() if entry.status == "live" and entry.batch is None]
    used = [int(entry.batch.removeprefix("batch-")) for entry in ledger.values() if entry.batch]
    first = max(used, default=0) + 1
    for position, entry in enumerate(new):
        key = f"batch-{first + position // batch_size:06d}"
        ledger[entry.song_id] = replace(entry, batch=key)
    return ledger
