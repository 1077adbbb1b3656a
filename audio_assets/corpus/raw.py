"""The raw embeddings of all live tracks, or of some: which they are, and what they look like.

What belongs here: choosing and reading them, and what one pass over them tells. What does not: changing them
(``centring``).
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audio_assets.embeddings import EMBEDDING_DIM, MeanAccumulator, SanityMeter, SanityRecord, sample_rows
from audio_assets.warehouse import Record

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_SAMPLED = 1_000


class SpoiltCorpusError(Exception):
    """A raw vector is NaN or infinite; one of them would spoil the mean, and by it every other track."""


@dataclass(frozen=True)
class RawCorpus:
    """Embeddings of tracks, made with one setting, which stay on disk.

    Parameters
    ----------
    track_ids, content_sha256 : pa.Array of str, length n
        Which tracks, and which bytes of them, in manifest order or the one they were asked for in.
    record : Record
        Holds their vectors; must not change meanwhile, so a snapshot where others write.
    places : ndarray of int64
        Row of the corpus that each recorded embedding is, in the order of the record; -1 for one that is
        not in it.
    """

    track_ids: pa.Array
    content_sha256: pa.Array
    record: Record
    places: Rows

    @property
    def tracks(self) -> pa.Table:
        """Which tracks and which bytes of them, as a table."""
        return pa.table({"song_id": self.track_ids, "content_sha256": self.content_sha256})

    def blocks(self) -> Iterator[tuple[Rows, Vectors]]:
        """Read the vectors once, in the order of the record.

        Yields
        ------
        rows : ndarray of int64, shape (m,)
            Rows of the corpus, in any order.
        vectors : ndarray of float32, shape (m, 512)
            Their vectors.
        """
        start = 0
        for block in _one_ahead(self.record.read_all_blocks("clap_embeddings", ["embedding"])):
            rows = self.places[start : start + block.num_rows]
            start += block.num_rows
            taken = rows >= 0
            if taken.any():
                yield rows[taken], vectors_of(block.filter(pa.array(taken)))


@dataclass(frozen=True)
class RawSurvey:
    """What a pass over the raw vectors tells.

    Parameters
    ----------
    mean : ndarray of float64, shape (512,)
        Of all of them; NaN where there is none.
    sanity : SanityRecord
        Their state.
    spoilt : list of str
        Tracks whose vectors are not finite.
    sampled_ids : list of str
        Up to 1,000 tracks spread over the corpus.
    sample : ndarray of float32, shape (at most 1000, 512)
        Their vectors.
    """

    mean: npt.NDArray[np.float64]
    sanity: SanityRecord
    spoilt: list[str]
    sampled_ids: list[str]
    sample: Vectors


def raw_corpus(record: Record, settings_version: str, tracks: pa.Table | None = None) -> RawCorpus:
    """Choose the raw embeddings of the live tracks, or of others.

    Parameters
    ----------
    record : Record
        The record.
    settings_version : str
        Only rows made with these settings; vectors of different models never mix.
    tracks : pa.Table, optional
        ``song_id`` and ``content_sha256`` of the tracks to take, in order, in place of the live ones.

    Returns
    -------
    RawCorpus
        Tracks without a row, or with one made from other bytes or settings, are not in it.
    """
    wanted = _live_tracks(record) if tracks is None else tracks
    rows = record.read_all(
        "clap_embeddings", ["song_id", "content_sha256", "settings_version", "failure_code"]
    )
    position = pc.index_in(rows["song_id"], value_set=wanted["song_id"].combine_chunks()).combine_chunks()
    same_bytes = pc.equal(wanted["content_sha256"].take(position), rows["content_sha256"])
    made = pc.and_(pc.equal(rows["settings_version"], settings_version), rows["failure_code"].is_null())
    taken = pc.fill_null(pc.and_(same_bytes, made), False).to_numpy()
    recorded = np.flatnonzero(taken)
    order = recorded[np.argsort(position.take(pa.array(recorded)).to_numpy(), kind="stable")]
    places = np.full(rows.num_rows, -1, np.int64)
    places[order] = np.arange(len(order))
    kept = rows.take(pa.array(order))
    ids, hashes = kept["song_id"].combine_chunks(), kept["content_sha256"].combine_chunks()
    return RawCorpus(ids, hashes, record, places)


def survey(raw: RawCorpus, keep: Callable[[Rows, Vectors], None] | None = None) -> RawSurvey:
    """Look at all raw vectors once.

    Parameters
    ----------
    raw : RawCorpus
        What to look at.
    keep : callable, optional
        Given each block of `RawCorpus.blocks`, for who wants the vectors too: to unpack them costs more than
        to look at them.

    Returns
    -------
    RawSurvey
        Exact, but for the sample.
    """
    meter, sums, spoilt = SanityMeter(), [], []
    sampled = sample_rows(len(raw.track_ids), _SAMPLED)
    sample = np.empty((len(sampled), EMBEDDING_DIM), np.float32)
    for rows, vectors in raw.blocks():
        if keep is not None:
            keep(rows, vectors)
        meter.update(vectors)
        sums.append(MeanAccumulator.of(vectors))
        spoilt += rows[~np.isfinite(vectors).all(axis=1)].tolist()
        _, mine, theirs = np.intersect1d(sampled, rows, return_indices=True)
        sample[mine] = vectors[theirs]
    mean = reduce(MeanAccumulator.merge, sums).mean if sums else np.full(EMBEDDING_DIM, np.nan)
    spoilt_ids = raw.track_ids.take(pa.array(spoilt, pa.int64())).to_pylist()
    sampled_ids = raw.track_ids.take(pa.array(sampled)).to_pylist()
    return RawSurvey(mean, meter.record(), spoilt_ids, sampled_ids, sample)


def tracks_digest(tracks: pa.Table) -> str:
    """Digest of ``song_id`` and ``content_sha256`` of all rows, in order."""
    digest = hashlib.sha256()
    for column in ("song_id", "content_sha256"):
        digest.update(json.dumps(tracks[column].to_pylist()).encode())
    return digest.hexdigest()


def vectors_of(table: pa.Table) -> Vectors:
    """Embedding column of a table without NULLs, as float32 of shape (n, 512)."""
    flat = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(table.num_rows, EMBEDDING_DIM)


def _one_ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Read the next table while this one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(next, tables, None)
        while (table := reading.result()) is not None:
            reading = reader.submit(next, tables, None)
            yield table


def _live_tracks(record: Record) -> pa.Table:
    """Ids and bytes of the live tracks, in manifest order."""
    tracks = record.read("track_manifest", columns=["song_id", "content_sha256", "status"])
    assert tracks is not None, "a record is initialised before anything is read of it"
    return tracks.filter(pc.field("status") == "live")
