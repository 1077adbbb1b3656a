"""Machines that mirror one store, with a computation that costs nothing; cheap to import many times."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.library import Entry
from audio_assets.warehouse import BatchSummary, Mirror, Outcome, Record, complete_batch

FEATURES, EMBEDDINGS = "audio_features", "clap_embeddings"
BATCH = "batch-000001"
PATIENCE_S = 120.0


def machine(folder: Path, url: str, patience_s: float = PATIENCE_S) -> Record:
    """The record as a machine with this data folder has it."""
    return Record(folder / "record", Mirror(folder / "record", url, patience_s))


def entries(n: int) -> list[Entry]:
    return [
        Entry(f"t{i:04d}", f"{i}.wav", "live", batch=BATCH, content_sha256=f"bytes of {i}") for i in range(n)
    ]


def analyse(
    record: Record,
    live_tracks: Callable[[], Sequence[Entry]],
    mine: Callable[[Entry], bool] = lambda _: True,
    after_each: Callable[[int], None] = lambda _: None,
) -> BatchSummary:
    """Complete a batch of the features, with the number of a track as its tempo; all tracks of it or some."""

    def compute(todo: Sequence[Entry]) -> Iterator[Outcome]:
        for n, track in enumerate(filter(mine, todo)):
            yield Outcome(track.song_id, {"tempo_bpm": float(track.song_id[1:])})
            after_each(n)

    version = ("extractor_version", EXTRACTOR_VERSION)
    return complete_batch(record, FEATURES, BATCH, live_tracks, version, compute)
