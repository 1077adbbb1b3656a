"""The retrieval index: what a search looks through, with the means that queries are centred with."""

from dataclasses import asdict
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audio_assets.assets.embeddings import clap_embeddings_normalized
from audio_assets.assets.reporting import OWNERS, pictures, published_table, query, rounded, rows_table
from audio_assets.builds import BUILT_OF, INDEX, INPUTS, NORMALIZED, inputs_digest
from audio_assets.corpus import IndexInfo, index_corpus, load_index
from audio_assets.embeddings import hubness, mean_text, sample_rows
from audio_assets.gate import require_proven, written
from audio_assets.plots import embedding_map
from audio_assets.retrieval import RetrievalIndex
from resources.clap_model import ClapModel, ModelUnhealthyError
from resources.warehouse import Warehouse

_EXAMPLES = 5
_DRAWN = 1_500


@dg.asset(
    deps=[clap_embeddings_normalized],
    group_name="analysis",
    kinds={"numpy", "parquet"},
    owners=OWNERS,
    code_version="2",
    metadata=published_table("retrieval_index"),
)
def retrieval_index(
    context: dg.AssetExecutionContext, warehouse: Warehouse, clap_model: ClapModel
) -> dg.MaterializeResult[None]:
    """Ids, normalised vectors and their stored mean: score = inner product with a centred query.

    The mean of texts is stored beside it, unless the model looks untrained: no text is compared with it then.

    ```sql
    SELECT song_id, round(score, 3) AS score, audio_path
    FROM similar_tracks((SELECT min(song_id) FROM retrieval_index), 10) JOIN manifest USING (song_id);
    ```
    """
    made_of = inputs_digest(warehouse.record, INPUTS[INDEX])
    require_proven(context.instance, warehouse.record, [NORMALIZED])
    info = index_corpus(
        warehouse.record,
        clap_model.settings(),
        _text_mean(context, clap_model),
        warehouse.approximate_from,
    )
    stored = load_index(warehouse.record)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": info.n_tracks if info else 0,
            BUILT_OF: made_of,
            **written(warehouse.record, INDEX),
            "mean_prompt_cosine": rounded(clap_model.health().mean_prompt_cosine),
            "mean_signal_cosine": rounded(clap_model.health().mean_signal_cosine),
            **(_shown(warehouse, *stored) if stored else {}),
            "query": query(
                warehouse.path,
                "SELECT * FROM similar_tracks((SELECT min(song_id) FROM retrieval_index), 10)",
                live=True,
            ),
            "file": dg.MetadataValue.path(str(warehouse.record.path("retrieval_index"))),
        }
    )


def _text_mean(context: dg.AssetExecutionContext, clap_model: ClapModel) -> npt.NDArray[np.float32] | None:
    try:
        return mean_text(clap_model.text_tower())
    except ModelUnhealthyError as error:
        context.log.warning(f"No mean of texts is stored, so text search is off. {error}")
        return None


def _shown(warehouse: Warehouse, index: RetrievalIndex, info: IndexInfo) -> dict[str, Any]:
    """What a person may want to look at, of an index of any size from a sample."""
    rows = sample_rows(info.n_tracks, _DRAWN)
    drawn = embedding_map(index.embeddings[rows], first_genres(warehouse, index.track_ids[rows].tolist()))
    description = "The tracks in the two directions in which their embeddings differ most"
    return {
        **_figures(index, info),
        "nearest": _nearest(index),
        **pictures(map=(drawn, description)),
    }


def _figures(index: RetrievalIndex, info: IndexInfo) -> dict[str, float]:
    """What a person may want to watch from build to build."""
    crowding = hubness(index.embeddings)
    figures = {f"hubness_{name}": value for name, value in asdict(crowding).items()} if crowding else {}
    if info.drift:
        figures |= {"mean_drift": info.drift.distance, "mean_cosine_to_last": info.drift.cosine}
    return {name: value if isinstance(value, int) else rounded(value) for name, value in figures.items()}


def _nearest(index: RetrievalIndex) -> dg.TableMetadataValue:
    """A few tracks, spread over the index, and which other track is most like each."""
    names = ("song_id", "nearest", "score")
    if len(index.track_ids) < 2:
        return rows_table(names, [])
    chosen = np.unique(np.linspace(0, len(index.track_ids) - 1, _EXAMPLES, dtype=np.int64))
    ids = index.track_ids[chosen].tolist()
    nearest, scores = index.neighbours(ids, 2)
    found = zip(ids, nearest[:, 1].tolist(), scores[:, 1].tolist(), strict=True)
    return rows_table(names, [dict(zip(names, row, strict=True)) for row in found])


def first_genres(warehouse: Warehouse, song_ids: list[str]) -> list[str | None]:
    """First genre of each track, where the manifest or the tags name one."""
    manifest = warehouse.record.read("track_manifest")
    if manifest is None or "genre" not in manifest.column_names:
        return [None] * len(song_ids)
    rows = pc.index_in(pa.array(song_ids, pa.string()), value_set=manifest["song_id"].combine_chunks())
    texts = pc.cast(manifest["genre"], pa.string()).take(rows).to_pylist()
    return [(text or "").split(",")[0].strip() or None for text in texts]
