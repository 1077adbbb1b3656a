"""What other people read: the published DuckDB file, and the files for notebooks."""

from pathlib import Path

import dagster as dg
import numpy as np

from audio_assets.assets.embeddings import clap_embeddings, clap_embeddings_normalized
from audio_assets.assets.features import audio_features
from audio_assets.assets.manifest import track_manifest
from audio_assets.assets.reporting import OWNERS, counts_table, pictures, query, rounded, several_tables
from audio_assets.assets.retrieval import retrieval_index
from audio_assets.builds import BUILT_OF, RETRIEVAL, inputs_digest
from audio_assets.gate import BATCHED, require_proven
from audio_assets.plots import key_distribution, tempo_histogram
from audio_assets.warehouse import LINK_NAME, PUBLISHED, export_notebook_files
from resources.warehouse import Warehouse

#: Tables whose columns are on no other page of the UI.
_WITHOUT_ASSET = ("audio_features_provenance", "retrieval_index_info", "track_failures", "batches")


@dg.asset(
    deps=[track_manifest, audio_features, clap_embeddings, clap_embeddings_normalized, retrieval_index],
    group_name="publication",
    kinds={"duckdb"},
    owners=OWNERS,
    code_version="1",
    metadata=several_tables({name: PUBLISHED[name][1] for name in _WITHOUT_ASSET}),
)
def warehouse_tables(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """All tables as one read-only DuckDB file, `warehouse.duckdb`, switched in whole.

    The columns of most tables are on the pages of the other assets, those of the rest below.

    Whoever has the former generation open keeps reading it. After `audio-assets rollback` readers stay with
    the generation chosen there, and this one waits beside it.

    ```sql
    SELECT * FROM batches ORDER BY batch;

    SELECT stage, code, count(*) AS n_tracks FROM track_failures GROUP BY ALL ORDER BY n_tracks DESC;

    SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal;
    ```
    """
    made_of = inputs_digest(warehouse.record)
    require_proven(context.instance, warehouse.record, (*BATCHED, *RETRIEVAL))
    publication = warehouse.publish()
    if publication.held_at:
        context.log.warning(
            f"built, but not switched in: 'audio-assets rollback' holds readers at {publication.held_at}; "
            "'audio-assets rollback --release' gives them the newest generation"
        )
    return dg.MaterializeResult(
        metadata={
            "generation": publication.generation,
            "generation_read": publication.held_at or publication.generation,
            BUILT_OF: made_of,
            "path": dg.MetadataValue.path(str(warehouse.path / LINK_NAME)),
            "query": query(warehouse.path, "SELECT * FROM batches ORDER BY batch"),
            "size_bytes": publication.size_bytes,
            "elapsed_s": rounded(publication.elapsed_s),
            **{f"rows_{name}": count for name, count in publication.row_counts.items()},
            **_distributions(publication.path),
        }
    )


def _distributions(published: Path) -> dict[str, dg.MarkdownMetadataValue]:
    """Tempi and keys of the whole library, as they are published."""
    import duckdb

    with duckdb.connect(str(published), read_only=True) as connection:
        columns = connection.execute(
            "SELECT tempo_bpm, key_cos, key_sin, is_minor FROM audio_features"
        ).fetchnumpy()
    tempo_bpm, *key = (np.ma.filled(column, np.nan) for column in columns.values())
    return pictures(
        tempi=(tempo_histogram(tempo_bpm), "Tempi of all tracks"),
        keys=(key_distribution(*key), "Keys of all tracks"),
    )


@dg.asset(
    deps=[track_manifest, audio_features, clap_embeddings, clap_embeddings_normalized, retrieval_index],
    group_name="publication",
    kinds={"numpy", "pandas"},
    owners=OWNERS,
    code_version="1",
)
def notebook_exports(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """The feature table as CSV, and embeddings and index as NPZ, in manifest order; switched in at once.

    | file | content |
    |---|---|
    | `merge_audio_features.csv` | `song_id` and the 56 columns of `audio_features`, with their units |
    | `embeddings/clap_embeddings.npz` | `track_ids`, `embeddings`: float32, unit length |
    | `embeddings/clap_embeddings_normalized.npz` | the same, centred |
    | `embeddings/clap_index.npz` | the same, centred, and the `mean` to centre queries with |

    ```python
    import numpy as np

    index = np.load("data/exports/embeddings/clap_index.npz", allow_pickle=False)
    index["track_ids"], index["embeddings"], index["mean"]
    ```
    """
    made_of = inputs_digest(warehouse.record)
    require_proven(context.instance, warehouse.record, (*BATCHED, *RETRIEVAL))
    rows = export_notebook_files(warehouse.record, warehouse.path)
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(warehouse.exports_path)),
            BUILT_OF: made_of,
            "files": counts_table(rows, "file", "rows"),
        }
    )
