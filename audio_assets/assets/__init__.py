"""The software-defined assets: each one a thin step over code that knows nothing of Dagster.

What belongs here: what an asset is called, depends on and reports. What does not: computing it.
"""

from audio_assets.assets.embeddings import clap_embeddings, clap_embeddings_normalized
from audio_assets.assets.features import audio_features
from audio_assets.assets.manifest import track_manifest
from audio_assets.assets.projection import embedding_projection
from audio_assets.assets.publication import notebook_exports, warehouse_tables
from audio_assets.assets.retrieval import retrieval_index

ASSETS = (
    track_manifest,
    audio_features,
    clap_embeddings,
    clap_embeddings_normalized,
    retrieval_index,
    notebook_exports,
    warehouse_tables,
    embedding_projection,
)

__all__ = [
    "ASSETS",
    "audio_features",
    "clap_embeddings",
    "clap_embeddings_normalized",
    "embedding_projection",
    "notebook_exports",
    "retrieval_index",
    "track_manifest",
    "warehouse_tables",
]
