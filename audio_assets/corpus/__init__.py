"""What is done over all tracks at once: centring the embeddings, and making the index of them.

Where ``embeddings``, ``retrieval`` and ``warehouse`` meet. A million tracks have 2 GB of vectors, so these
are read and written block by block, and only what has a few bytes a track is held. Nothing knows Dagster.
"""

from audio_assets.corpus.centring import TRACKS, Centring, normalise_corpus, setting_values
from audio_assets.corpus.index import IndexInfo, index_corpus, index_info, load_index
from audio_assets.corpus.raw import (
    RawCorpus,
    RawSurvey,
    SpoiltCorpusError,
    raw_corpus,
    survey,
    tracks_digest,
    vectors_of,
)

__all__ = [
    "TRACKS",
    "Centring",
    "IndexInfo",
    "RawCorpus",
    "RawSurvey",
    "SpoiltCorpusError",
    "index_corpus",
    "index_info",
    "load_index",
    "normalise_corpus",
    "raw_corpus",
    "setting_values",
    "survey",
    "tracks_digest",
    "vectors_of",
]
