"""From a text or an audio file to a query of the index: where the model, the index and the worker meet.

What belongs here: which index is searched, when a search is refused, and what is embedded how. What does not:
how neighbours are found (``retrieval``), what is known of them (``client``). Nothing here knows Dagster.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from audio_assets.audio import AudioLimits, IsolatedPool
from audio_assets.corpus import load_index, vectors_of
from audio_assets.embeddings import EmbeddingSettings, pool_windows
from audio_assets.failures import TrackFailure
from audio_assets.retrieval import RetrievalIndex
from audio_assets.tracks import file_log_mel
from audio_assets.warehouse import Record

if TYPE_CHECKING:
    import duckdb

_MODEL_COLUMNS = ("model_id", "revision", "weights_sha256", "config_sha256", "windowing", "front_end")
_FILE_TIMEOUT_S = 600.0
_FILE_MEMORY_MB = 3000


class SearchRefusedError(Exception):
    """A search would give no answer, or one that means nothing; the message says why and what to do."""


class TextEmbedder(Protocol):
    """The half of a model that embeds texts."""

    def embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Embed texts as unit vectors, shape (n, 512)."""


class AudioEmbedder(Protocol):
    """The half of a model that embeds audio."""

    def embed_log_mel(self, log_mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed spectrograms, shape (k, 1001, 64), as unit vectors, shape (k, 512)."""


class Model(Protocol):
    """The model in force."""

    def settings(self) -> EmbeddingSettings:
        """Say which model it is, without loading it."""

    def text_tower(self) -> TextEmbedder:
        """Load the half that embeds texts, or refuse."""

    def encoder(self) -> AudioEmbedder:
        """Load the half that embeds audio."""


@dataclass(frozen=True)
class IndexedTracks:
    """The index of a published generation, and what made its vectors.

    Parameters
    ----------
    index : RetrievalIndex
        What is searched. It may hold tracks that are in it no longer.
    is_whole : bool
        Whether all its tracks are in the generation.
    text_mean : ndarray of float32, shape (512,), or None
        What a text is centred with; None where the model could not embed texts.
    model_id, revision, weights_sha256, windowing, front_end : str
        The model and its windows.
    config_sha256 : str or None
        The model's configuration; None for an index of a version that did not keep it.
    """

    index: RetrievalIndex
    is_whole: bool
    text_mean: npt.NDArray[np.float32] | None
    model_id: str
    revision: str
    weights_sha256: str
    config_sha256: str | None
    windowing: str
    front_end: str

    def model_name(self) -> dict[str, str]:
        """Id and revision, as `ClapModel` takes them."""
        is_folder = Path(self.model_id).is_absolute()
        return {"model_id": self.model_id, "revision": "" if is_folder else self.revision}

    def require(self, settings: EmbeddingSettings) -> None:
        """Refuse a model other than the one that made the vectors.

        Arithmetic and backend may differ: on another machine they have to.
        """
        same_config = self.config_sha256 in (None, settings.config_sha256)
        if not same_config or self.weights_sha256 != settings.weights_sha256:
            raise SearchRefusedError(
                f"the index was made with {self.model_id}@{self.revision} (weights "
                f"{self.weights_sha256[:12]}), the model in force is {settings.model_id}@{settings.revision} "
                f"(weights {settings.weights_sha256[:12]}): name the index's model with --clap-model, or run "
                "again with this one"
            )


def load_indexed_tracks(connection: "duckdb.DuckDBPyConnection", record: Record) -> IndexedTracks:
    """Load the index of a published generation.

    The record's own files of it are mapped where they still are of the version that was published; else, as
    after a rollback or for a copied file, the vectors are read from the generation.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        To the generation.
    record : Record
        The record it was made of, there or not.

    Raises
    ------
    SearchRefusedError
        Nothing is indexed.
    """
    columns = ", ".join(("n_tracks", "corpus_version", "mean", "text_mean", *_MODEL_COLUMNS))
    found = connection.execute(f"SELECT {columns} FROM retrieval_index_info").fetchall()  # noqa: S608
    if not found:
        raise SearchRefusedError("nothing is indexed yet; 'audio-assets run' makes the index")
    n_tracks, version, mean, text_mean, *model = found[0]
    mean = np.asarray(mean, np.float32)
    index = _mapped_index(record, version, mean) or _index_within(connection, mean)
    return IndexedTracks(
        index,
        n_tracks == len(index.track_ids),
        None if text_mean is None else np.asarray(text_mean, np.float32),
        **dict(zip(_MODEL_COLUMNS, model, strict=True)),
    )


def embed_text(indexed: IndexedTracks, model: Model, text: str) -> npt.NDArray[np.float32]:
    """Embed a text, to be centred with the index's mean of texts.

    Text and audio vectors lie in two narrow cones apart from each other, so each is centred with the mean
    of its own kind; docs/embeddings.md has what that is worth.

    Parameters
    ----------
    indexed : IndexedTracks
        What is to be searched.
    model : Model
        Model in force, loaded once nothing else speaks against the search. What its settings say of the
        arithmetic or the windows of tracks does not matter here.
    text : str
        What is looked for, in English.

    Returns
    -------
    ndarray of float32, shape (512,)
        As the model gives it.

    Raises
    ------
    SearchRefusedError
        The text is blank, the index is of another model, or has no mean of texts.
    ModelError
        The model is missing, or its text half has collapsed.
    """
    if not text.strip():
        raise SearchRefusedError("the text is blank")
    indexed.require(model.settings())
    embedder = model.text_tower()
    if indexed.text_mean is None:
        raise SearchRefusedError(
            "the index has no mean of texts, as its model was not fit for texts when it was made: "
            "materialise retrieval_index and warehouse_tables again"
        )
    query: npt.NDArray[np.float32] = embedder.embed([text])[0]
    return query


def embed_file(indexed: IndexedTracks, model: Model, file: Path) -> npt.NDArray[np.float32]:
    """Embed an audio file as a run embeds a track.

    Parameters
    ----------
    indexed : IndexedTracks
        What is to be searched.
    model : Model
        Model in force.
    file : Path
        Any file; it is decoded in a worker process that it may crash or hang.

    Returns
    -------
    ndarray of float32, shape (512,)
        Unit length.

    Raises
    ------
    SearchRefusedError
        The file cannot be analysed, or the index is of another model or of other windows.
    ModelError
        The model is missing.
    """
    if not file.expanduser().is_file():
        raise SearchRefusedError(f"there is no file {file}")
    settings = model.settings()
    indexed.require(settings)
    if (settings.windowing.version, settings.front_end) != (indexed.windowing, indexed.front_end):
        raise SearchRefusedError(
            f"the index's windows are {indexed.windowing} ({indexed.front_end}), those in force are "
            f"{settings.windowing.version} ({settings.front_end}): set AUDIO_ASSETS_CLAP_WINDOWS as it was "
            "for the run, or run again"
        )
    hear = partial(file_log_mel, AudioLimits(), settings.windowing)
    with IsolatedPool(workers=1, timeout_s=_FILE_TIMEOUT_S, memory_limit_mb=_FILE_MEMORY_MB) as pool:
        ((_, heard),) = pool.map_unordered(hear, [file.expanduser().resolve()])
    try:
        if isinstance(heard, TrackFailure):
            raise heard
        return pool_windows(model.encoder().embed_log_mel(heard))
    except TrackFailure as failure:
        raise SearchRefusedError(f"{file} cannot be searched with: {failure}") from failure


def _mapped_index(record: Record, version: str, mean: npt.NDArray[np.float32]) -> RetrievalIndex | None:
    """Take the record's index where it is of this version, before and after it was read."""
    if record.version_in_force() != version:
        return None
    loaded = load_index(record)
    if loaded is None or record.version_in_force() != version:
        return None
    # Another record, beside which the file was copied, counts its versions from one too; its mean is another.
    return loaded[0] if np.array_equal(loaded[0].mean, mean) else None


def _index_within(connection: "duckdb.DuckDBPyConnection", mean: npt.NDArray[np.float32]) -> RetrievalIndex:
    """Read the vectors of a generation into memory."""
    table = connection.sql("SELECT song_id, embedding FROM retrieval_index ORDER BY song_id").to_arrow_table()
    ids = np.array(table["song_id"].to_pylist(), dtype=np.str_)
    return RetrievalIndex(ids, vectors_of(table), mean)
