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
from audio_assets.corpus import IndexInfo, index_corpus, vectors_of
from audio_assets.embeddings import hubness, mean_text
from audio_assets.gate import require_proven, written
from audio_assets.plots import embedding_map
from resources.clap_model import ClapModel, ModelUnhealthyError
from resources.warehouse import Warehouse

_EXAMPLES = 5


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
            "nearest": _nearest(table),
            **pictures(
                map=(
                    embedding_map(vectors_of(table), first_genres(warehouse, table["song_id"].to_pylist())),
                    "The tracks in the two directions in which their embeddings differ most",
                )
            ),
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


def _figures(info: IndexInfo, table: Any) -> dict[str, float]:
    """What a person may want to watch from build to build."""
    crowding = hubness(vectors_of(table))
    figures = {f"hubness_{name}": value for name, value in asdict(crowding).items()} if crowding else {}
    if info.drift:
        figures |= {"mean_drift": info.drift.distance, "mean_cosine_to_last": info.drift.cosine}
    return {name: value if isinstance(value, int) else rounded(value) for name, value in figures.items()}


def _nearest(table: pa.Table) -> dg.TableMetadataValue:
    """A few tracks, spread over the index, and which other track is most like each."""
    ids, vectors = table["song_id"].to_pylist(), vectors_of(table)
    names = ("song_id", "nearest", "score")
    if len(ids) < 2:
        return rows_table(names, [])
    chosen = np.unique(np.linspace(0, len(ids) - 1, _EXAMPLES, dtype=np.int64))
    scores = vectors[chosen] @ vectors.T
    scores[np.arange(len(chosen)), chosen] = -np.inf  # itself
    found = zip(chosen, scores.argmax(axis=1), scores.max(axis=1), strict=True)
    return rows_table(
        names,
        [dict(zip(names, (ids[row], ids[other], float(score)), strict=True)) for row, other, score in found],
    )


def first_genres(warehouse: Warehouse, song_ids: list[str]) -> list[str | None]:
    """First genre of each track, where the manifest or the tags name one."""
    manifest = warehouse.record.read("track_manifest")
    if manifest is None or "genre" not in manifest.column_names:
        return [None] * len(song_ids)
    texts = (genre or "" for genre in pc.cast(manifest["genre"], pa.string()).to_pylist())
    genres = dict(
        zip(manifest["song_id"].to_pylist(), (text.split(",")[0].strip() for text in texts), strict=True)
    )
    return [genres.get(song_id) or None for song_id in song_ids]
