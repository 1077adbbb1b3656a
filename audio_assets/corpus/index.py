"""The index of a version of the record: what a search looks through, and what it was made of."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from audio_assets.cores import usable_cores
from audio_assets.corpus.raw import Vectors, vectors_of
from audio_assets.embeddings import EmbeddingSettings, MeanDrift, mean_drift
from audio_assets.retrieval import APPROXIMATE_FROM, ApproximateIndex, RetrievalIndex
from audio_assets.warehouse import Record, RecordError, arrow_schema, atomic_path, map_matrix


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


def index_corpus(
    record: Record,
    settings: EmbeddingSettings,
    text_mean: npt.NDArray[np.float32] | None,
    approximate_from: int = APPROXIMATE_FROM,
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
    approximate_from : int
        Tracks from which on an approximate index is made beside the exact one.

    Returns
    -------
    IndexInfo or None
        What was made; None where no track has an embedding, and so the index is empty.
    """
    record.initialise()
    version = record.drafted_version()
    assert version is not None, "an initialised record has a normalised table"
    metadata = record.metadata("clap_embeddings_normalized", version=version)
    if "mean" not in metadata:
        record.write("retrieval_index", arrow_schema("retrieval_index").empty_table(), version=version)
        return None
    # What a float32 reader of the mean would see is what is stored, so both doors and the NPZ agree.
    mean = _mean(metadata)
    metadata["mean"] = _as_text(mean)
    metadata.update(_drift_since_last(record, metadata["settings_version"], mean))
    if text_mean is not None and _info(metadata, n_tracks=0).is_of(settings):
        metadata["text_mean"] = _as_text(text_mean)
    _make_approximate(record, version, approximate_from)
    _write_index(record, version, metadata)
    record.drop_superseded_versions()
    return _info(metadata, record.n_rows("retrieval_index", version=version))


def load_index(record: Record) -> tuple[RetrievalIndex, IndexInfo] | None:
    """Open the retrieval index and read what it was made of; None where nothing is indexed.

    The vectors are mapped from their file and read as they are searched.

    Raises
    ------
    RecordError
        The files of the version do not belong together.
    """
    version = record.version_in_force()
    metadata = record.metadata("retrieval_index", version=version)
    if version is None or "mean" not in metadata:
        return None
    table = record.read("retrieval_index", version=version, columns=["song_id"])
    assert table is not None
    ids = np.array(table["song_id"].to_pylist(), dtype=np.str_)
    matrix = _matrix(record, version)
    if len(ids) != len(matrix):
        raise RecordError(
            f"{record.matrix_path(version)} has {len(matrix)} rows, but {len(ids)} tracks are indexed: "
            "materialise clap_embeddings_normalized and retrieval_index again"
        )
    return RetrievalIndex(ids, matrix, _mean(metadata), _approximate(record, version)), _info(
        metadata, len(ids)
    )


def index_info(record: Record) -> IndexInfo | None:
    """Read what the retrieval index was made of; None where nothing is indexed."""
    version = record.version_in_force()
    metadata = record.metadata("retrieval_index", version=version)
    if "mean" not in metadata:
        return None
    return _info(metadata, record.n_rows("retrieval_index", version=version))


def _matrix(record: Record, version: str) -> Vectors:
    matrix = map_matrix(record.matrix_path(version))
    if matrix is not None:
        return matrix
    # Of a version from before the vectors had a file of their own.
    table = record.read("retrieval_index", version=version, columns=["embedding"])
    assert table is not None
    return vectors_of(table)


def _approximate(record: Record, version: str) -> ApproximateIndex | None:
    path = record.approximate_path(version)
    return ApproximateIndex.load(path, usable_cores()) if path.exists() else None


def _make_approximate(record: Record, version: str, approximate_from: int) -> None:
    path = record.approximate_path(version)
    matrix = map_matrix(record.matrix_path(version))
    if matrix is None or len(matrix) < approximate_from:
        if path.exists():  # of this version when fewer tracks were enough
            path.unlink()
        return
    with atomic_path(path) as temporary:
        ApproximateIndex.build(matrix, usable_cores()).save(temporary)


def _write_index(record: Record, version: str, metadata: dict[str, str]) -> None:
    """Put the index in force; it has the rows of the normalised table that have a vector."""
    columns = arrow_schema("retrieval_index").names
    blocks = record.read_blocks("clap_embeddings_normalized", [*columns, "failure_code"], version=version)
    kept = (block.filter(pc.field("failure_code").is_null()).select(columns) for block in blocks)
    record.write_blocks("retrieval_index", kept, version=version, metadata=metadata)


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
    last = record.metadata("retrieval_index")
    if last.get("settings_version") != settings_version:
        return {}
    drift = mean_drift(_mean(last), mean)
    return {"drift": json.dumps(asdict(drift)), "n_before": str(record.n_rows("retrieval_index"))}


def _mean(metadata: dict[str, str]) -> npt.NDArray[np.float32]:
    return np.asarray(json.loads(metadata["mean"]), dtype=np.float32)


def _as_text(vector: npt.NDArray[np.float32]) -> str:
    return json.dumps(vector.astype(np.float64).tolist())
