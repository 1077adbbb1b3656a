"""Finding the nearest tracks: the index and the search over it.

What belongs here: building, querying and validating an index of centred, unit vectors. What does not:
how the vectors came about (``embeddings``) or where they are kept (``warehouse``).
"""

from audio_assets.retrieval.approximate import APPROXIMATE_FROM, ApproximateIndex
from audio_assets.retrieval.index import QueryError, RetrievalIndex, UnknownTrackError

__all__ = ["APPROXIMATE_FROM", "ApproximateIndex", "QueryError", "RetrievalIndex", "UnknownTrackError"]
