"""The retrieval index: what a search looks through, with the means that queries are centred with."""

from dataclasses import asdict
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt

from audio_assets.assets.embeddings import clap_embeddings_normalized
from audio_assets.assets.reporting import OWNERS, column_schema, preview, rounded
from audio_assets.builds import BUILT_OF, INDEX, INPUTS, NORMALIZED, inputs_digest
from audio_assets.corpus import IndexInfo, index_corpus, vectors_of
from audio_assets.embeddings import hubness, mean_text
from audio_assets.gate import require_proven, written
from audio_assets.warehouse import PUBLISHED, RECORD
from resources.clap_model import ClapModel, ModelUnhealthyError
from resources.warehouse import Warehouse


@dg.asset(
    deps=[clap_embeddings_normalized],
    group_name="analysis",
    kinds={"numpy", "parquet"},
    owners=OWNERS,
    code_version="2",
    metadata={"dagster/column_schema": column_schema(PUBLISHED["retrieval_index"][1])},
)
def retrieval_index(
    context: dg.AssetExecutionContext, warehouse: Warehouse, clap_model: ClapModel
) -> dg.MaterializeResult[None]:
    """Ids, normalised vectors and their stored mean: score = inner product with a centred query.

    The mean of texts is stored beside it, unless the model looks untrained: no text is compared with it then.
    """
    made_of = inputs_digest(warehouse.record, INPUTS[INDEX])
    require_proven(context.instance, warehouse.record, [NORMALIZED])
    info = index_corpus(warehouse.record, clap_model.settings(), _text_mean(context, clap_model))
    table = warehouse.record.read("retrieval_index")
    assert table is not None
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            BUILT_OF: made_of,
            **written(warehouse.record, INDEX),
            "mean_prompt_cosine": rounded(clap_model.health().mean_prompt_cosine),
            "mean_signal_cosine": rounded(clap_model.health().mean_signal_cosine),
            **(_figures(info, table) if info else {}),
            "preview": preview(table, RECORD["retrieval_index"]),
        }
    )


def _text_mean(context: dg.AssetExecutionContext, clap_model: ClapModel) -> npt.NDArray[np.float32] | None:
    try:
        return mean_text(clap_model.text_tower())
    except ModelUnhealthyError as error:
        context.log.warning(f"No mean of texts is stored, so text search is off. {error}")
        return None


def _figures(info: IndexInfo, table: Any) -> dict[str, float]:
    """What a person may want to watch from build to build."""
    crowding = hubness(vectors_of(table))
    figures = {f"hubness_{name}": value for name, value in asdict(crowding).items()} if crowding else {}
    if info.drift:
        figures |= {"mean_drift": info.drift.distance, "mean_cosine_to_last": info.drift.cosine}
    return {name: value if isinstance(value, int) else rounded(value) for name, value in figures.items()}
