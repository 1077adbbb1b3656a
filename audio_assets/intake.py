"""From the user's library to the ledger: name the tracks, look at each one, merge with what was known.

Where ``library``, the worker pool and ``warehouse`` meet for the first asset. Nothing here knows Dagster.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from audio_assets.audio import AudioLimits
from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.library import (
    TAG_NAMES,
    Entry,
    Measurement,
    Seen,
    Sighting,
    Source,
    entries_by_path,
    locate,
    measure,
    read_source,
    update_ledger,
)
from audio_assets.warehouse import Record, ledger_from_table, ledger_to_table

#: Runs a function over items in worker processes; yields each item with its result or failure.
Measure = Callable[
    [Callable[[Sighting], Measurement], Iterable[Sighting]],
    Iterator[tuple[Sighting, Measurement | TrackFailure]],
]


@dataclass(frozen=True)
class Intake:
    """What a look at the library found.

    Parameters
    ----------
    ledger : list of Entry
        Every track, removed ones last.
    table : pa.Table
        The same with the carried columns, as recorded.
    steps : dict of str to int
        Rows left after each preprocessing step.
    n_new, n_changed, n_moved : int
        Live tracks that were not live before, that have other bytes, and that have another path.
    """

    ledger: list[Entry]
    table: pa.Table
    steps: dict[str, int]
    n_new: int
    n_changed: int
    n_moved: int

    @property
    def statuses(self) -> Counter[str]:
        """Tracks by status."""
        return Counter(entry.status for entry in self.ledger)

    @property
    def failures(self) -> Counter[str]:
        """Named tracks that are not live, by reason."""
        return Counter(entry.failure_code for entry in self.ledger if entry.failure_code)

    @property
    def batches(self) -> list[str]:
        """Every batch there ever was, in order."""
        return sorted({entry.batch for entry in self.ledger if entry.batch})


def take_in(
    record: Record,
    root: Path,
    manifest: Path | None,
    limits: AudioLimits,
    measure_all: Measure,
    *,
    batch_size: int,
    settling: frozenset[str] = frozenset(),
    dry_run: bool = False,
) -> Intake:
    """Bring the ledger up to date with the library.

    Parameters
    ----------
    record : Record
        Holds the ledger; other writers of it are kept out meanwhile.
    root, manifest
        The library, as for `library.read_source`.
    limits : AudioLimits
        What is refused.
    measure_all : callable
        Maps `library.measure` over tracks in worker processes.
    batch_size : int
        Most tracks in a new batch.
    settling : frozenset of str
        Files, as paths relative to the root, that may still be being copied: a new one waits for the next
        look, a known one stays as it was.
    dry_run : bool
        Look, but write nothing.

    Returns
    -------
    Intake
        What was found.

    Raises
    ------
    ManifestError, LibraryVanishedError
        The library or manifest cannot be used; the ledger is left as it was.
    """
    if dry_run:
        return _look(record, root, manifest, limits, measure_all, batch_size, settling)

    def look_and_write(onto: str | None) -> Intake:
        intake = _look(record, root, manifest, limits, measure_all, batch_size, settling)
        if not intake.table.equals(record.read("track_manifest")):
            record.write("track_manifest", intake.table, onto=onto)
        return intake

    record.root.mkdir(parents=True, exist_ok=True)
    with FileLock(record.root / ".manifest.lock"):
        return record.onto_latest("track_manifest", None, look_and_write)


def _look(
    record: Record,
    root: Path,
    manifest: Path | None,
    limits: AudioLimits,
    measure_all: Measure,
    batch_size: int,
    settling: frozenset[str],
) -> Intake:
    table = record.read("track_manifest")
    previous = {} if table is None else {entry.song_id: entry for entry in ledger_from_table(table)}
    source = read_source(root, manifest)
    standing = _standing(previous, table, source, root, settling)
    source = _without_new(source, standing)
    outcomes = {
        **dict(_measured(previous, source, root, limits, measure_all, standing)),
        **{name: outcome for name, outcome in standing.items() if outcome is not None},
    }
    rows = source.tracks.select(["song_id", "audio_path"]).to_pylist()
    seen = [Seen(row["song_id"], row["audio_path"], outcomes[row["song_id"]]) for row in rows]
    ledger = update_ledger(
        previous, seen, batch_size=batch_size, ids_follow_content=source.scanned, now=dt.datetime.now(dt.UTC)
    )
    entries = list(ledger.values())
    carried = _with_tags(entries[: len(seen)], seen) if source.scanned else source.tracks
    live = [(previous.get(entry.song_id), entry) for entry in entries if entry.status == "live"]
    return Intake(
        ledger=entries,
        table=ledger_to_table(entries, carried),
        steps=source.steps,
        n_new=sum(old is None or old.batch is None for old, _ in live),
        n_changed=sum(_differs(old, new, "content_sha256") for old, new in live),
        n_moved=sum(_differs(old, new, "file_path") for old, new in live),
    )


def _standing(
    previous: dict[str, Entry], table: pa.Table | None, source: Source, root: Path, settling: frozenset[str]
) -> dict[str, Measurement | TrackFailure | None]:
    """Say of the tracks whose files are still settling what was said before, or None of a new one."""
    if not settling:
        return {}
    known = _known(previous, source)
    tags = _tags_of(table)
    found: dict[str, Measurement | TrackFailure | None] = {}
    for row in source.tracks.select(["song_id", "audio_path"]).to_pylist():
        if _relative(root, row["audio_path"]) in settling:
            entry = known.get(row["song_id"])
            found[row["song_id"]] = _as_before(entry, tags.get(entry.song_id, {})) if entry else None
    return found


def _relative(root: Path, audio_path: str) -> str | None:
    try:
        return locate(root, audio_path).as_posix()
    except TrackFailure:  # said again, and recorded, when the track is measured
        return None


def _as_before(entry: Entry, tags: dict[str, str]) -> Measurement | TrackFailure | None:
    if entry.status == "removed":
        return None
    if entry.failure_code is not None:
        return TrackFailure(FailureCode(entry.failure_code), entry.failure_message or "")
    assert entry.file_path is not None
    assert entry.stat is not None
    assert entry.content_sha256 is not None
    measured = (entry.duration_s, entry.sample_rate_hz, entry.channels, entry.codec)
    return Measurement(entry.file_path, entry.stat, entry.content_sha256, *measured, tags)


def _without_new(source: Source, standing: dict[str, Measurement | TrackFailure | None]) -> Source:
    waiting = pa.array([name for name, outcome in standing.items() if outcome is None], pa.string())
    if not len(waiting):
        return source
    tracks = source.tracks.filter(pc.invert(pc.is_in(source.tracks["song_id"], value_set=waiting)))
    return replace(source, tracks=tracks, steps={**source.steps, "settled": tracks.num_rows})


def _tags_of(table: pa.Table | None) -> dict[str, dict[str, str]]:
    names = [] if table is None else [name for name in TAG_NAMES if name in table.column_names]
    rows = [] if table is None else table.select(["song_id", *names]).to_pylist()
    return {row["song_id"]: {name: row[name] for name in names if row[name]} for row in rows}


def _known(previous: dict[str, Entry], source: Source) -> dict[str, Entry]:
    return entries_by_path(previous.values()) if source.scanned else previous


def _measured(
    previous: dict[str, Entry],
    source: Source,
    root: Path,
    limits: AudioLimits,
    measure_all: Measure,
    standing: Container[str],
) -> Iterator[tuple[str, Measurement | TrackFailure]]:
    known = _known(previous, source)
    sightings = []
    for row in source.tracks.select(["song_id", "audio_path"]).to_pylist():
        song_id, audio_path = row["song_id"], row["audio_path"]
        if song_id not in standing:
            entry = known.get(song_id)
            sightings.append(entry.sighting(song_id, audio_path) if entry else Sighting(song_id, audio_path))
    for sighting, outcome in measure_all(partial(measure, root.resolve(), limits), sightings):
        yield sighting.song_id, outcome


def _with_tags(entries: list[Entry], seen: list[Seen]) -> pa.Table:
    tags = [track.outcome.tags if isinstance(track.outcome, Measurement) else {} for track in seen]
    columns = {"song_id": pa.array([entry.song_id for entry in entries], pa.string())}
    for name in TAG_NAMES:
        columns[name] = pa.array([tag.get(name) for tag in tags], pa.string())
    return pa.table(columns)


def _differs(old: Entry | None, new: Entry, field: str) -> bool:
    return old is not None and old.batch is not None and getattr(old, field) != getattr(new, field)
