"""Completing one batch: keep what is still true, compute the rest, record all of it.

A row is still true while the track's bytes and the version that made it are unchanged and its numbers are
numbers. Work that an earlier, killed run finished is taken from its journal.
"""

import datetime as dt
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from audio_assets.failures import RETRYABLE, TrackFailure
from audio_assets.library import Entry
from audio_assets.warehouse.journal import Journal
from audio_assets.warehouse.record import Record
from audio_assets.warehouse.schemas import arrow_schema


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
    done = _true_rows(record, name, batch, tracks, version)
    return [track for track in tracks if track.song_id not in done]


def complete_batch(
    record: Record,
    name: str,
    batch: str,
    tracks: Sequence[Entry],
    version: tuple[str, str],
    compute: Callable[[Sequence[Entry]], Iterable[Outcome]],
) -> BatchSummary:
    """Bring one batch of a table up to date.

    Parameters
    ----------
    record, name, batch, tracks, version
        As for `pending`.
    compute : callable
        Called with the tracks that are pending; yields an outcome for each, in any order. It is resumed
        once the outcome it yielded is safe on disk.

    Returns
    -------
    BatchSummary
        With the rows as recorded, in the order of ``tracks``.
    """
    started = time.monotonic()
    rows = _true_rows(record, name, batch, tracks, version)
    todo = [track for track in tracks if track.song_id not in rows]
    hashes = {track.song_id: track.content_sha256 for track in todo}
    journal = _journal(record, name, batch)
    if todo:
        with journal.writer() as writer:
            for outcome in compute(todo):
                row = _row(outcome, hashes[outcome.song_id], version)
                writer.append(row)
                rows[outcome.song_id] = row
    ordered = [rows[track.song_id] for track in tracks]
    table = pa.Table.from_pylist(ordered, schema=arrow_schema(name))
    record.write(name, table, batch=batch)
    journal.drop()
    return BatchSummary(
        n_live=len(tracks),
        n_reused=len(tracks) - len(todo),
        n_computed=len(todo),
        failures=Counter(row["failure_code"] for row in ordered if row["failure_code"]),
        elapsed_s=time.monotonic() - started,
        table=table,
    )


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
    record: Record, name: str, batch: str, tracks: Sequence[Entry], version: tuple[str, str]
) -> dict[str, dict[str, Any]]:
    wanted = {(track.song_id, track.content_sha256) for track in tracks}
    return {
        row["song_id"]: row
        for row in _earlier_rows(record, name, batch)
        if (row["song_id"], row["content_sha256"]) in wanted
        and row[version[0]] == version[1]
        and row["failure_code"] not in RETRYABLE
        and _is_sound(row)
    }


def _is_sound(row: dict[str, Any]) -> bool:
    """Whether no number of a row is NaN or infinite: materialising a spoilt batch again mends it."""
    for value in row.values():
        numbers = value if isinstance(value, list) else (value,)
        if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
            return False
    return True


def _earlier_rows(record: Record, name: str, batch: str) -> Iterator[dict[str, Any]]:
    table = record.read(name, batch)
    if table is not None:
        yield from table.to_pylist()
    yield from _journal(record, name, batch).rows()


def _journal(record: Record, name: str, batch: str) -> Journal:
    return Journal(record.path(name, batch).parent, arrow_schema(name))
