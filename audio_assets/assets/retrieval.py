"""The retrieval index: what a search looks through, with the mean that queries are centred with."""

import dagster as dg

from audio_assets.assets.embeddings import clap_embeddings_normalized
from audio_assets.assets.reporting import OWNERS, column_schema, preview
from audio_assets.builds import BUILT_OF, INDEX, inputs_digest
from audio_assets.corpus import index_corpus
from audio_assets.warehouse import PUBLISHED, RECORD
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
    made_of = inputs_digest(warehouse.record, INDEX)
    n_tracks = index_corpus(warehouse.record)
    table = warehouse.record.read("retrieval_index")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": n_tracks,
            BUILT_OF: made_of,
            "preview": preview(table, RECORD["retrieval_index"]),
        }
    )
