"""The retrieval index: what a search looks through, with the mean that queries are centred with."""

import dagster as dg

from audio_assets.assets.embeddings import clap_embeddings_normalized
from audio_assets.assets.reporting import OWNERS, column_schema
from audio_assets.corpus import index_corpus
from audio_assets.warehouse import PUBLISHED
from resources.warehouse import Warehouse


@dg.asset(
    deps=[clap_embeddings_normalized],
    group_name="analysis",
    kinds={"numpy", "parquet"},
    owners=OWNERS,
    code_version="1",
    metadata={"dagster/column_schema": column_schema(PUBLISHED["retrieval_index"][1])},
)
def retrieval_index(warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """Ids, normalised vectors and their stored mean: score = inner product with a centred query."""
    return dg.MaterializeResult(metadata={"dagster/row_count": index_corpus(warehouse.record)})
