"""From the user's library to the ledger: name the tracks, look at each one, merge with what was known.

Where ``library``, the worker pool and ``warehouse`` meet for the first asset. Nothing here knows Dagster.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
from filelock import FileLock

from audio_assets.audio import AudioLimits
from audio_assets.failures import TrackFailure
from audio_assets.library import (
    TAG_NAMES,
    Entry,
    Measurement,
    Seen,
    Sighting,
    Source,
    entries_by_path,
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
        return _look(record, root, manifest, limits, measure_all, batch_size)
    record.root.mkdir(parents=True, exist_ok=True)
    with FileLock(record.root / ".manifest.lock"):
        intake = _look(record, root, manifest, limits, measure_all, batch_size)
        if not intake.table.equals(record.read("track_manifest")):
            record.write("track_manifest", intake.table)
    return intake


def _look(
    record: Record,
    root: Path,
    manifest: Path | None,
    limits: AudioLimits,
    measure_all: Measure,
    batch_size: int,
) -> Intake:
    table = record.read("track_manifest")
    previous = {} if table is None else {entry.song_id: entry for entry in ledger_from_table(table)}
    source = read_source(root, manifest)
    outcomes = dict(_measured(previous, source, root, limits, measure_all))
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


def _measured(
    previous: dict[str, Entry], source: Source, root: Path, limits: AudioLimits, measure_all: Measure
) -> Iterator[tuple[str, Measurement | TrackFailure]]:
    known = entries_by_path(previous.values()) if source.scanned else previous
    sightings = []
    for row in source.tracks.select(["song_id", "audio_path"]).to_pylist():
        song_id, audio_path = row["song_id"], row["audio_path"]
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
