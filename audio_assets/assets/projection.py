"""The projection: where each track is on the map. Made when somebody asks for a map, not by any job."""

import time

import dagster as dg
import numpy as np
import pyarrow as pa

from audio_assets.assets.reporting import OWNERS, column_schema, pictures, rounded
from audio_assets.assets.retrieval import first_genres, retrieval_index
from audio_assets.builds import INDEX
from audio_assets.corpus import load_index
from audio_assets.gate import require_proven
from audio_assets.map_table import NoProjectionError, projection_path, write_projection
from audio_assets.plots import point_map
from audio_assets.projection import MIN_DIST, SEED, project
from audio_assets.warehouse import Column
from resources.warehouse import Warehouse

_COLUMNS = (
    Column("song_id", pa.string(), "Id of the track"),
    Column("x", pa.float32(), "Place on the map; it has no unit"),
    Column("y", pa.float32(), "Place on the map; it has no unit"),
)


@dg.asset(
    deps=[retrieval_index],
    group_name="map",
    kinds={"numpy", "parquet"},
    owners=OWNERS,
    code_version="1",
    metadata={"dagster/column_schema": column_schema(_COLUMNS)},
)
def embedding_projection(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> dg.MaterializeResult[None]:
    """Where each track is on the map that `audio-assets map` shows: UMAP of the index, with a fixed seed.

    Made on demand and not by any job, as importing and compiling UMAP alone takes half a minute. Needs the
    extra `map`.

    ```bash
    audio-assets map --export map.parquet
    ```
    """
    require_proven(context.instance, warehouse.record, [INDEX])
    started = time.monotonic()
    path, stored = projection_path(warehouse.record), load_index(warehouse.record)
    if stored is None:
        raise NoProjectionError("nothing is indexed yet, so there is nothing to lay out")
    index, _ = stored
    projection = project(np.asarray(index.embeddings))
    write_projection(path, index.track_ids, projection)
    trust = projection.trustworthiness
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(projection.points),
            **({} if trust is None else {"trustworthiness": rounded(trust)}),
            "method": projection.method,
            "n_neighbors": projection.n_neighbors,
            "min_dist": MIN_DIST,
            "seed": SEED,
            "elapsed_s": rounded(time.monotonic() - started),
            **pictures(
                map=(
                    point_map(projection.points, first_genres(warehouse, index.track_ids.tolist())),
                    "The tracks laid out so that those that sound alike are near each other",
                )
            ),
            "file": dg.MetadataValue.path(str(path)),
        }
    )
