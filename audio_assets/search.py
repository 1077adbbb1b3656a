"""Answering a text with tracks: where the model, the index and the manifest meet.

What belongs here: when a search is refused, and joining what was found with what is known of it. What does
not: how neighbours are found (``retrieval``), printing (``cli``). Nothing here knows Dagster.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from audio_assets.corpus import load_index
from audio_assets.embeddings import EmbeddingSettings
from audio_assets.warehouse import Record


class SearchRefusedError(Exception):
    """A search would give an answer that means nothing; the message says why and what to do."""


class TextEmbedder(Protocol):
    """The half of a model that embeds texts."""

    def embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Embed texts as unit vectors, shape (n, 512)."""


class TextModel(Protocol):
    """The model in force."""

    def settings(self) -> EmbeddingSettings:
        """Say which model it is, without loading it."""

    def text_tower(self) -> TextEmbedder:
        """Load the half that embeds texts, or refuse."""


@dataclass(frozen=True)
class Hit:
    """A track that was found.

    Parameters
    ----------
    song_id : str
        Id of the track.
    title : str
        Its title in the user's manifest, or its path where it has none.
    score : float
        Cosine of the centred text and the centred track. It ranks the tracks for one text and says nothing
        on how well any of them fits.
    """

    song_id: str
    title: str
    score: float


def search_text(record: Record, model: TextModel, text: str, k: int) -> list[Hit]:
    """Find the tracks nearest to a text.

    Text and audio vectors lie in two narrow cones apart from each other, so each is centred with the mean
    of its own kind: the text with the mean of texts that is stored with the index.

    Parameters
    ----------
    record : Record
        Holds index and manifest.
    model : TextModel
        Model in force, loaded once nothing else speaks against the search. What its settings say of the
        arithmetic or the windows of tracks does not matter here.
    text : str
        What is looked for, in English.
    k : int
        Tracks wanted.

    Returns
    -------
    list of Hit
        Best first; only tracks that are in the library now.

    Raises
    ------
    SearchRefusedError
        No index, an index of another model, one without a mean of texts, or no text.
    QueryError
        The text has no direction.
    """
    if not text.strip():
        raise SearchRefusedError("the text is blank")
    stored = load_index(record)
    if stored is None:
        raise SearchRefusedError("nothing is indexed yet; 'audio-assets run' makes the index")
    index, info = stored
    settings = model.settings()
    if not info.is_of(settings):
        raise SearchRefusedError(
            f"the index was made with {info.model} (weights {info.weights_sha256[:12]}), the model in force "
            f"is {settings.model_id}@{settings.revision} (weights {settings.weights_sha256[:12]}): name the "
            "index's model with --clap-model, or run again with this one"
        )
    embedder = model.text_tower()
    if info.text_mean is None:
        raise SearchRefusedError(
            "the index has no mean of texts, as its model was not fit for texts when it was made: "
            "materialise retrieval_index again"
        )
    titles = _titles(record)
    # Tracks that were removed since are still in the index, so more are asked for than are wanted.
    ids, scores = index.search(embedder.embed([text]), len(index.track_ids), mean=info.text_mean)
    found = zip(ids[0].tolist(), scores[0].tolist(), strict=True)
    hits = [Hit(song_id, titles[song_id], score) for song_id, score in found if song_id in titles]
    return hits[:k]


def _titles(record: Record) -> dict[str, str]:
    """Title, or else path, of every live track."""
    table = record.read("track_manifest")
    assert table is not None, "there is an index, so there is a manifest"
    paths = table["audio_path"].to_pylist()
    titles = table["title"].to_pylist() if "title" in table.column_names else paths
    rows = zip(table["song_id"].to_pylist(), titles, paths, table["status"].to_pylist(), strict=True)
    return {song_id: str(title or path) for song_id, title, path, status in rows if status == "live"}
