"""What other people read: the published DuckDB file, and the files for notebooks."""

import dagster as dg

from audio_assets.assets.embeddings import clap_embeddings, clap_embeddings_normalized
from audio_assets.assets.features import audio_features
from audio_assets.assets.manifest import track_manifest
from audio_assets.assets.reporting import OWNERS, counts_table, rounded
from audio_assets.assets.retrieval import retrieval_index
from audio_assets.builds import BUILT_OF, RETRIEVAL, inputs_digest
from audio_assets.gate import BATCHED, require_proven
from audio_assets.warehouse import LINK_NAME, export_notebook_files
from resources.warehouse import Warehouse


@dg.asset(
    deps=[track_manifest, audio_features, clap_embeddings, clap_embeddings_normalized, retrieval_index],
    group_name="publication",
    kinds={"duckdb"},
    owners=OWNERS,
    code_version="1",
)
def warehouse_tables(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """All tables as one read-only DuckDB file, `warehouse.duckdb`, switched in whole.

    Whoever has the former generation open keeps reading it. After `audio-assets rollback` readers stay with
    the generation chosen there, and this one waits beside it.
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
            "query": dg.MetadataValue.md(f"`duckdb -readonly {warehouse.path / LINK_NAME}`"),
            "size_bytes": publication.size_bytes,
            "elapsed_s": rounded(publication.elapsed_s),
            **{f"rows_{name}": count for name, count in publication.row_counts.items()},
        }
    )


@dg.asset(
    deps=[track_manifest, audio_features, clap_embeddings, clap_embeddings_normalized, retrieval_index],
    group_name="publication",
    kinds={"numpy", "pandas"},
    owners=OWNERS,
    code_version="1",
)
def notebook_exports(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """The feature table as CSV, and embeddings and index as NPZ, in manifest order; switched in at once."""
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
