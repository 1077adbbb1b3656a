"""Centring: the raw embeddings minus their mean, each of unit length, as a new version of the record."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audio_assets.corpus.raw import (
    RawCorpus,
    RawSurvey,
    SpoiltCorpusError,
    Vectors,
    raw_corpus,
    survey,
    tracks_digest,
)
from audio_assets.embeddings import (
    EMBEDDING_DIM,
    EmbeddingSettings,
    SanityMeter,
    SanityRecord,
    centre_and_normalise,
    sample_rows,
)
from audio_assets.failures import FailureCode
from audio_assets.warehouse import MatrixWriter, Record, arrow_schema, map_matrix, write_matrix

#: Metadata of the normalised table: the digest of the tracks that it is to have.
TRACKS = "tracks_sha256"
_NO_DIRECTION = "the embedding equals the mean of all embeddings: it has no direction once centred"
_SAMPLED = 1_000
_BLOCK_ROWS = 4_096


@dataclass(frozen=True)
class Centring:
    """What centring did.

    Parameters
    ----------
    raw, normalised : ndarray of float32, shape (at most 1000, 512)
        Vectors of tracks spread over the corpus, before and after.
    before, after : SanityRecord
        State of all vectors, before and after.
    left_out : list of str
        Tracks without a direction once centred.
    """

    raw: Vectors
    normalised: Vectors
    before: SanityRecord
    after: SanityRecord
    left_out: list[str]


def normalise_corpus(record: Record, settings: EmbeddingSettings) -> Centring:
    """Centre the raw embeddings of all live tracks, scale each to unit length, and record the result.

    The result is a new version, which readers see once `index_corpus` has made its index. The vectors are
    unpacked once, into the matrix that is then centred in place.

    Parameters
    ----------
    record : Record
        Read and written.
    settings : EmbeddingSettings
        Which rows are taken; kept with the result.

    Returns
    -------
    Centring
        What it did.

    Raises
    ------
    SpoiltCorpusError
        A raw vector is not finite. No vector is kept; the number of the version is used up.
    """
    with record.snapshot() as still:
        raw = raw_corpus(still, settings.version)
        version = record.new_version()
        with write_matrix(record.matrix_path(version), len(raw.track_ids), EMBEDDING_DIM) as matrix:
            before = survey(raw, matrix.put)
            _refuse_spoilt(before)
            after, kept = _centre(matrix, before.mean)
    vectors = map_matrix(record.matrix_path(version))
    assert vectors is not None
    metadata = {TRACKS: tracks_digest(raw.tracks)}
    if len(kept):
        metadata |= {**setting_values(settings), "mean": json.dumps(before.mean.tolist())}
    record.write_blocks(
        "clap_embeddings_normalized", _blocks(raw, vectors, kept), version=version, metadata=metadata
    )
    left_out = raw.track_ids.filter(pa.array(~kept)).to_pylist()
    sample = vectors[sample_rows(len(vectors), _SAMPLED)]
    return Centring(before.sample, sample, before.sanity, after, left_out)


def setting_values(settings: EmbeddingSettings) -> dict[str, str]:
    """Give the columns by which every row says how it was made."""
    return {
        "settings_version": settings.version,
        "model_id": settings.model_id,
        "revision": settings.revision,
        "weights_sha256": settings.weights_sha256,
        "config_sha256": settings.config_sha256,
        "windowing": settings.windowing.version,
        "front_end": settings.front_end,
        "precision": settings.precision,
        "backend": settings.backend,
    }


def _refuse_spoilt(found: RawSurvey) -> None:
    if found.spoilt:
        raise SpoiltCorpusError(
            f"raw embeddings of {len(found.spoilt)} tracks hold NaN or infinity, such as "
            f"{', '.join(found.spoilt[:5])}; materialise their batches of clap_embeddings again"
        )


def _centre(
    matrix: MatrixWriter, mean: npt.NDArray[np.float64]
) -> tuple[SanityRecord, npt.NDArray[np.bool_]]:
    """Centre a matrix in place; give the state of what is left, and which rows have a direction."""
    meter, directed = SanityMeter(), [np.ones(0, np.bool_)]
    for start, vectors in matrix.blocks():
        normalised, kept = centre_and_normalise(vectors, mean)
        matrix.put(start + np.arange(len(kept)), normalised)
        meter.update(normalised[kept])
        directed.append(kept)
    kept = np.concatenate(directed)
    if not kept.all():
        matrix.drop(~kept)
    return meter.record(), kept


def _blocks(raw: RawCorpus, vectors: Vectors, kept: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    """Rows of the normalised table, from the matrix, which has only those that are kept."""
    now, n_before = dt.datetime.now(dt.UTC), 0
    for start in range(0, len(kept), _BLOCK_ROWS):
        here = kept[start : start + _BLOCK_ROWS]
        block = np.zeros((len(here), EMBEDDING_DIM), np.float32)
        n_kept = int(np.count_nonzero(here))
        block[here] = vectors[n_before : n_before + n_kept]
        n_before += n_kept
        failed = pa.array(~here)
        columns = {
            "song_id": raw.track_ids.slice(start, len(here)),
            "content_sha256": raw.content_sha256.slice(start, len(here)),
            "computed_at": pa.array([now] * len(here), pa.timestamp("us", tz="UTC")),
            "failure_code": pc.if_else(failed, str(FailureCode.ZERO_NORM), pa.scalar(None, pa.string())),
            "failure_message": pc.if_else(failed, _NO_DIRECTION, pa.scalar(None, pa.string())),
            "embedding": pa.FixedSizeListArray.from_arrays(
                pa.array(block.ravel(), pa.float32()), EMBEDDING_DIM, mask=failed
            ),
        }
        yield pa.table(columns, schema=arrow_schema("clap_embeddings_normalized"))
