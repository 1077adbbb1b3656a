"""Completing one batch: keep what is still true, compute the rest, record all of it.

A row is still true while the track's bytes and the version that made it are unchanged and its numbers are
numbers. Work that an earlier, killed run finished is taken from its journal.

Two runs of one batch at once may compute a track twice, and lose none: each merges what the other has
recorded meanwhile, on this machine or another, and leaves the other's journal alone.
"""

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from audio_assets.failures import RETRYABLE, TrackFailure
from audio_assets.library import Entry
from audio_assets.warehouse.completeness import Question
from audio_assets.warehouse.files import explained
from audio_assets.warehouse.journal import Journal
from audio_assets.warehouse.record import Record
from audio_assets.warehouse.schemas import arrow_schema

_TRACKS_FOR_RATE = 100
#: Longer than a track may take: nothing was computed in between.
_BREAK_S = 900.0
_UNKNOWN = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True)
class Outcome:
    """What came of one track: its columns, or the reason why there are none."""

    song_id: str
    result: dict[str, Any] | TrackFailure
    elapsed_s: float | None = None


@dataclass(frozen=True)
class BatchSummary:
    """What a run did for a batch.

    ``n_live`` tracks were to be there, ``n_reused`` rows were still true, ``n_computed`` were made in
    ``elapsed_s`` seconds of wall time; ``failures`` counts the reasons among the live tracks.
    """

    n_live: int
    n_reused: int
    n_computed: int
    failures: Counter[str]
    elapsed_s: float
    table: pa.Table

    @property
    def n_succeeded(self) -> int:
        """Live tracks that have their numbers."""
        return self.n_live - self.failures.total()


def pending(
    record: Record, name: str, batch: str, tracks: Sequence[Entry], version: tuple[str, str]
) -> list[Entry]:
    """Tracks of a batch that have no row that is still true.

    Parameters
    ----------
    record : Record
        The record.
    name, batch
        Table and partition key.
    tracks : sequence of Entry
        Live tracks of the batch.
    version : tuple of str
        Column that holds the version, and the version wanted.

    Returns
    -------
    list of Entry
        What a run of the batch would compute.
    """
    question = Question.about(record.path(name, batch), tracks, version)
    if question.is_answered():
        return []
    recorded = record.read(name, batch)
    done = _true_ids(recorded, tracks, version) if recorded is not None else set()
    if recorded is not None and len(done) == len(tracks):
        question.note_yes()
        return []
    done |= _true_ids(_journal(record, name, batch).rows(), tracks, version)
    return [track for track in tracks if track.song_id not in done]


def complete_batch(
    record: Record,
    name: str,
    batch: str,
    live_tracks: Callable[[], Sequence[Entry]],
    version: tuple[str, str],
    compute: Callable[[Sequence[Entry]], Iterable[Outcome]],
    anew: Container[str] = (),
) -> BatchSummary:
    """Bring one batch of a table up to date.

    Parameters
    ----------
    record, name, batch, version
        As for `pending`.
    live_tracks : callable
        Gives the live tracks of the batch. Called again before the batch is written, as the ledger may have
        changed, and another run may have acted on that.
    compute : callable
        Called with the tracks that are pending; yields an outcome for each, in any order. It is resumed
        once the outcome it yielded is safe on disk.
    anew : container of str
        Ids of tracks that are computed although their rows are true. Until all of the batch is, its former
        rows stay.

    Returns
    -------
    BatchSummary
        With the rows of the live tracks as recorded, in the order of the ledger.
    """
    started = time.monotonic()
    tracks = live_tracks()
    rows = _true_rows(_earlier(record, name, batch), tracks, version)
    todo = [track for track in tracks if track.song_id not in rows or track.song_id in anew]
    journal = _journal(record, name, batch)
    computed = _computed(journal, compute, todo, version) if todo else {}

    def merge(onto: str | None) -> pa.Table:
        tracks = live_tracks()
        mine = pa.Table.from_pylist(list(computed.values()), schema=arrow_schema(name))
        earlier = [*_earlier(record, name, batch), mine]
        recorded = _true_rows(earlier[:-1], tracks, version)
        # What is true now comes before what was when the run began, whoever made it.
        known = {**rows, **computed, **recorded, **_true_rows([mine], tracks, version)}
        ordered = [known[track.song_id] for track in tracks if track.song_id in known]
        table = pa.Table.from_pylist(ordered, schema=arrow_schema(name))
        whole = pa.concat_tables([table, _of_absent(earlier, tracks)])
        record.write(name, whole, batch=batch, onto=onto)
        return table

    with _writing_alone(record, name):
        ended = journal.ended()
        table = record.onto_latest(name, batch, merge)
        journal.drop(ended)
    failure_codes = table["failure_code"].drop_null().to_pylist()
    return BatchSummary(
        n_live=table.num_rows,
        n_reused=table.num_rows - len(computed),
        n_computed=len(computed),
        failures=Counter(failure_codes),
        elapsed_s=time.monotonic() - started,
        table=table,
    )


def measured_rate(record: Record, name: str) -> float | None:
    """Tracks a second since the last break, of the batch worked on last; None where nothing tells."""
    folders = [path for path in (record.root / name).glob("batch=*") if any(path.iterdir())]
    if not folders:
        return None
    newest = max(folders, key=lambda folder: max(path.stat().st_mtime for path in folder.iterdir()))
    batch = newest.name.removeprefix("batch=")
    times = sorted(
        time for table in _earlier(record, name, batch) for time in table["computed_at"].to_pylist()
    )
    latest = times[-_TRACKS_FOR_RATE:]
    gaps_s = [(later - earlier).total_seconds() for earlier, later in pairwise(latest)]
    since_break_s = list(takewhile(lambda gap_s: gap_s < _BREAK_S, reversed(gaps_s)))
    elapsed_s = sum(since_break_s)
    return len(since_break_s) / elapsed_s if elapsed_s > 0 else None


def _computed(
    journal: Journal,
    compute: Callable[[Sequence[Entry]], Iterable[Outcome]],
    todo: Sequence[Entry],
    version: tuple[str, str],
) -> dict[str, dict[str, Any]]:
    """Rows by track, each in a journal as soon as it was made."""
    hashes = {track.song_id: track.content_sha256 for track in todo}
    made = {}
    with journal.writer() as writer:
        for outcome in compute(todo):
            made[outcome.song_id] = _row(outcome, hashes[outcome.song_id], version)
            writer.append(made[outcome.song_id])
    return made


def _row(outcome: Outcome, content_sha256: str | None, version: tuple[str, str]) -> dict[str, Any]:
    failed = isinstance(outcome.result, TrackFailure)
    return {
        "song_id": outcome.song_id,
        "content_sha256": content_sha256,
        "computed_at": dt.datetime.now(dt.UTC),
        "elapsed_s": outcome.elapsed_s,
        "failure_code": str(outcome.result.code) if isinstance(outcome.result, TrackFailure) else None,
        "failure_message": outcome.result.message if isinstance(outcome.result, TrackFailure) else None,
        version[0]: version[1],
        **({} if failed else outcome.result),  # type: ignore[dict-item]
    }


def _true_rows(
    tables: Iterable[pa.Table], tracks: Sequence[Entry], version: tuple[str, str]
) -> dict[str, dict[str, Any]]:
    """Rows that are true, by track; of several the one that was computed last."""
    return _last_of_each(table.filter(_is_true(table, tracks, version)) for table in tables)


def _of_absent(tables: Iterable[pa.Table], live: Sequence[Entry]) -> pa.Table:
    """Last result of each track that is not live: a file that is moved while others are listed comes back."""
    ids = pa.array([track.song_id for track in live], pa.string())
    absent = [table.filter(pc.invert(pc.is_in(table["song_id"], value_set=ids))) for table in tables]
    succeeded = (table.filter(pc.and_(table["failure_code"].is_null(), _is_sound(table))) for table in absent)
    return pa.Table.from_pylist(list(_last_of_each(succeeded).values()), schema=absent[-1].schema)


def _last_of_each(tables: Iterable[pa.Table]) -> dict[str, dict[str, Any]]:
    rows = [row for table in tables for row in table.to_pylist()]
    return {row["song_id"]: row for row in sorted(rows, key=lambda row: row["computed_at"] or _UNKNOWN)}


def _true_ids(table: pa.Table, tracks: Sequence[Entry], version: tuple[str, str]) -> set[str]:
    return set(table.filter(_is_true(table, tracks, version))["song_id"].to_pylist())


def _is_true(table: pa.Table, tracks: Sequence[Entry], version: tuple[str, str]) -> pa.Array:
    """Mask of the rows that a run need not make again."""
    wanted = {(track.song_id, track.content_sha256) for track in tracks}
    columns = (table[name].to_pylist() for name in ("song_id", "content_sha256", version[0], "failure_code"))
    known = [
        (song_id, sha256) in wanted and made_by == version[1] and code not in RETRYABLE
        for song_id, sha256, made_by, code in zip(*columns, strict=True)
    ]
    return pc.and_(pa.array(known, pa.bool_()), _is_sound(table))


def _is_sound(table: pa.Table) -> pa.Array:
    """Mask of the rows without NaN or infinity: materialising a spoilt batch again mends it."""
    sound = np.ones(table.num_rows, dtype=bool)
    for field in table.schema:
        column = table[field.name].combine_chunks()
        if pa.types.is_fixed_size_list(field.type):
            numbers = column.fill_null([0.0] * field.type.list_size).flatten().to_numpy(zero_copy_only=False)
            sound &= np.isfinite(numbers.reshape(table.num_rows, field.type.list_size)).all(axis=1)
        elif pa.types.is_floating(field.type):
            sound &= np.isfinite(column.fill_null(0.0).to_numpy(zero_copy_only=False))
    return pa.array(sound)


def _earlier(record: Record, name: str, batch: str) -> Iterator[pa.Table]:
    table = record.read(name, batch)
    if table is not None:
        yield table
    yield _journal(record, name, batch).rows()


@contextmanager
def _writing_alone(record: Record, name: str) -> Iterator[None]:
    """Keep others from replacing a batch of a table, for as long as it takes to read and write one."""
    with explained(record.root):
        record.root.mkdir(parents=True, exist_ok=True)
        with FileLock(record.root / f".{name}.lock"):
            yield


def _journal(record: Record, name: str, batch: str) -> Journal:
    return Journal(record.path(name, batch).parent, arrow_schema(name))
