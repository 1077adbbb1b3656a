"""What is done over all tracks at once: centring the embeddings, and making the index of them.

Where ``embeddings``, ``retrieval`` and ``warehouse`` meet. Nothing here knows Dagster.
"""

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audio_assets.embeddings import (
    EMBEDDING_DIM,
    EmbeddingSettings,
    MeanAccumulator,
    MeanDrift,
    SanityRecord,
    centre_and_normalise,
    mean_drift,
    sanity_record,
)
from audio_assets.failures import FailureCode
from audio_assets.library import Entry
from audio_assets.retrieval import RetrievalIndex
from audio_assets.warehouse import Record, arrow_schema

_RAW_COLUMNS = ("song_id", "content_sha256", "settings_version", "failure_code", "embedding")
_NO_DIRECTION = "the embedding equals the mean of all embeddings: it has no direction once centred"


class SpoiltCorpusError(Exception):
    """A raw vector is NaN or infinite; one of them would spoil the mean, and by it every other track."""


@dataclass(frozen=True)
class Corpus:
    """Embeddings of all live tracks made with one setting.

    Parameters
    ----------
    track_ids, content_sha256 : list of str
        Which tracks, and which bytes of them.
    vectors : ndarray of float32, shape (n, 512)
        One row a track, in manifest order.
    """

    track_ids: list[str]
    content_sha256: list[str]
    vectors: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Centring:
    """What centring did: the vectors before and after, their sanity, and the tracks it left out."""

    raw: npt.NDArray[np.float32]
    normalised: npt.NDArray[np.float32]
    before: SanityRecord
    after: SanityRecord
    left_out: list[str]


@dataclass(frozen=True)
class IndexInfo:
    """What an index was made of, and how it differs from the one before it.

    Parameters
    ----------
    settings_version, model : str
        What its vectors were made with, and the model of that as ``name@revision``.
    weights_sha256 : str
        Weights of that model.
    config_sha256 : str or None
        Its configuration; None for an index of a version that did not keep it.
    text_mean : ndarray of float32, shape (512,), or None
        What a text query is centred with; None where the model could not embed texts.
    drift : MeanDrift or None
        How far the mean has moved since the index before it; None where there was none of the same model.
    n_before, n_tracks : int
        Tracks in the index before it (0 where there was none) and in this one.
    """

    settings_version: str
    model: str
    weights_sha256: str
    config_sha256: str | None
    text_mean: npt.NDArray[np.float32] | None
    drift: MeanDrift | None
    n_before: int
    n_tracks: int

    def is_of(self, settings: EmbeddingSettings) -> bool:
        """Whether its vectors are of the model of these settings.

        Texts are embedded in float32 with torch, whatever the tracks were: precision, backend and windows
        may differ.
        """
        known = self.config_sha256 in (None, settings.config_sha256)
        return known and self.weights_sha256 == settings.weights_sha256


def raw_corpus(record: Record, live: Iterable[Entry], settings_version: str) -> Corpus:
    """Raw embeddings of the live tracks, in manifest order.

    Parameters
    ----------
    record : Record
        The record.
    live : iterable of Entry
        Live tracks.
    settings_version : str
        Only rows made with these settings; vectors of different models never mix.

    Returns
    -------
    Corpus
        Tracks without a row, or with one made from other bytes or settings, are not in it.
    """
    order = {(track.song_id, track.content_sha256): row for row, track in enumerate(live)}
    table = record.read_all("clap_embeddings", _RAW_COLUMNS)
    table = table.filter(
        (pc.field("settings_version") == settings_version) & pc.field("failure_code").is_null()
    )
    keys = zip(table["song_id"].to_pylist(), table["content_sha256"].to_pylist(), strict=True)
    positions = np.array([order.get(key, -1) for key in keys], dtype=np.int64)
    rows = np.argsort(positions, kind="stable")[np.count_nonzero(positions < 0) :]
    kept = table.select(["song_id", "content_sha256"]).take(pa.array(rows))
    vectors = vectors_of(table)[rows]
    return Corpus(kept["song_id"].to_pylist(), kept["content_sha256"].to_pylist(), vectors)


def vectors_of(table: pa.Table) -> npt.NDArray[np.float32]:
    """Embedding column of a table without NULLs, as float32 of shape (n, 512)."""
    flat = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(table.num_rows, EMBEDDING_DIM)


def normalise_corpus(record: Record, live: Iterable[Entry], settings: EmbeddingSettings) -> Centring:
    """Centre the raw embeddings of all live tracks, scale each to unit length, and record the result.

    The result is a new version, which readers see once `index_corpus` has made its index.

    Parameters
    ----------
    record : Record
        Read and written.
    live : iterable of Entry
        Live tracks.
    settings : EmbeddingSettings
        Which rows are taken; kept with the result.

    Returns
    -------
    Centring
        What it did.

    Raises
    ------
    SpoiltCorpusError
        A raw vector is not finite; nothing is written.
    """
    raw = raw_corpus(record, live, settings.version)
    if not raw.track_ids:
        empty = arrow_schema("clap_embeddings_normalized").empty_table()
        record.write("clap_embeddings_normalized", empty, version=record.new_version())
        nothing = sanity_record(raw.vectors)
        return Centring(raw.vectors, raw.vectors, nothing, nothing, [])
    _refuse_spoilt(raw)
    mean = _mean_of(raw.vectors)
    vectors, kept = centre_and_normalise(raw.vectors, mean)
    table = _normalised_table(raw, vectors, kept)
    metadata = {**setting_values(settings), "mean": json.dumps(mean.tolist())}
    version = record.new_version()
    record.write("clap_embeddings_normalized", table, version=version, metadata=metadata)
    left_out = [song_id for song_id, keep in zip(raw.track_ids, kept.tolist(), strict=True) if not keep]
    normalised = vectors[kept]
    return Centring(raw.vectors, normalised, sanity_record(raw.vectors), sanity_record(normalised), left_out)


def index_corpus(
    record: Record, settings: EmbeddingSettings, text_mean: npt.NDArray[np.float32] | None
) -> IndexInfo | None:
    """Make the index of the newest normalised embeddings, with the very mean they were centred with.

    Both are in force from then on, at once.

    Parameters
    ----------
    record : Record
        Read and written.
    settings : EmbeddingSettings
        Name the model that `text_mean` is of.
    text_mean : ndarray of float32, shape (512,), or None
        Kept with the index if its vectors are of that model.

    Returns
    -------
    IndexInfo or None
        What was made; None where no track has an embedding, and so the index is empty.
    """
    record.initialise()
    version = record.drafted_version()
    table = record.read("clap_embeddings_normalized", version=version)
    if table is None or "mean" not in _metadata(table):
        record.write("retrieval_index", arrow_schema("retrieval_index").empty_table(), version=version)
        return None
    metadata = _metadata(table)
    # What a float32 reader of the mean would see is what is stored, so both doors and the NPZ agree.
    mean = np.asarray(json.loads(metadata["mean"]), dtype=np.float32)
    kept = table.filter(table["failure_code"].is_null()).select(arrow_schema("retrieval_index").names)
    metadata["mean"] = _as_text(mean)
    metadata.update(_drift_since_last(record, metadata["settings_version"], mean))
    if text_mean is not None and _info(metadata, kept.num_rows).is_of(settings):
        metadata["text_mean"] = _as_text(text_mean)
    record.write("retrieval_index", kept, version=version, metadata=metadata)
    record.drop_superseded_versions()
    return _info(metadata, kept.num_rows)


def load_index(record: Record) -> tuple[RetrievalIndex, IndexInfo] | None:
    """Read the retrieval index and what it was made of; None where nothing is indexed."""
    table = _index_table(record)
    if table is None:
        return None
    mean = np.asarray(json.loads(_metadata(table)["mean"]), dtype=np.float32)
    ids = np.array(table["song_id"].to_pylist(), dtype=np.str_)
    return RetrievalIndex(ids, vectors_of(table), mean), _info(_metadata(table), table.num_rows)


def index_info(record: Record) -> IndexInfo | None:
    """Read what the retrieval index was made of; None where nothing is indexed."""
    table = _index_table(record)
    return None if table is None else _info(_metadata(table), table.num_rows)


def _index_table(record: Record) -> pa.Table | None:
    table = record.read("retrieval_index")
    return table if table is not None and "mean" in _metadata(table) else None


def _info(values: dict[str, str], n_tracks: int) -> IndexInfo:
    text_mean = json.loads(values["text_mean"]) if "text_mean" in values else None
    drift = json.loads(values["drift"]) if "drift" in values else None
    return IndexInfo(
        settings_version=values["settings_version"],
        model=f"{values['model_id']}@{values['revision']}",
        weights_sha256=values["weights_sha256"],
        config_sha256=values.get("config_sha256"),
        text_mean=None if text_mean is None else np.asarray(text_mean, dtype=np.float32),
        drift=None if drift is None else MeanDrift(**drift),
        n_before=int(values.get("n_before", 0)),
        n_tracks=n_tracks,
    )


def _drift_since_last(record: Record, settings_version: str, mean: npt.NDArray[np.float32]) -> dict[str, str]:
    """Compare with the index that is about to be replaced; nothing to say where it is of another model."""
    last = load_index(record)
    if last is None or last[1].settings_version != settings_version:
        return {}
    index, info = last
    return {"drift": json.dumps(asdict(mean_drift(index.mean, mean))), "n_before": str(info.n_tracks)}


def _as_text(vector: npt.NDArray[np.float32]) -> str:
    return json.dumps(vector.astype(np.float64).tolist())


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


def _normalised_table(raw: Corpus, vectors: npt.NDArray[np.float32], kept: npt.NDArray[np.bool_]) -> pa.Table:
    n_tracks = len(raw.track_ids)
    failed = pa.array(~kept)
    columns = {
        "song_id": pa.array(raw.track_ids, pa.string()),
        "content_sha256": pa.array(raw.content_sha256, pa.string()),
        "computed_at": pa.array([dt.datetime.now(dt.UTC)] * n_tracks, pa.timestamp("us", tz="UTC")),
        "failure_code": pc.if_else(failed, str(FailureCode.ZERO_NORM), pa.scalar(None, pa.string())),
        "failure_message": pc.if_else(failed, _NO_DIRECTION, pa.scalar(None, pa.string())),
        "embedding": pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.ravel(), pa.float32()), EMBEDDING_DIM, mask=failed
        ),
    }
    return pa.table(columns, schema=arrow_schema("clap_embeddings_normalized"))


def _refuse_spoilt(raw: Corpus) -> None:
    finite = np.isfinite(raw.vectors).all(axis=1)
    if not finite.all():
        spoilt = [raw.track_ids[row] for row in np.flatnonzero(~finite)]
        raise SpoiltCorpusError(
            f"raw embeddings of {len(spoilt)} tracks hold NaN or infinity, such as {', '.join(spoilt[:5])}; "
            "materialise their batches of clap_embeddings again"
        )


def _mean_of(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    blocks = np.array_split(vectors, max(1, len(vectors) // 65_536))
    return reduce(MeanAccumulator.merge, map(MeanAccumulator.of, blocks)).mean


def _metadata(table: pa.Table) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
