"""What is launched together: the jobs behind the command line, the UI's launchpad, sensors and schedules."""

import dagster as dg

from audio_assets.assets import (
    audio_features,
    clap_embeddings,
    clap_embeddings_normalized,
    notebook_exports,
    retrieval_index,
    track_manifest,
    warehouse_tables,
)
from audio_assets.checks import exports_load, index_covers_library, published_tables_agree
from audio_assets.maintenance import maintenance

# One process a run: the heavy work is in the pool's processes, and a second layer of them would load
# the model again for every step.
EXECUTOR = dg.in_process_executor

refresh_manifest = dg.define_asset_job(
    "refresh_manifest",
    dg.AssetSelection.assets(track_manifest),
    description="Look at the library: new, changed, moved and removed tracks.",
)
analyse_batch = dg.define_asset_job(
    "analyse_batch",
    dg.AssetSelection.assets(audio_features, clap_embeddings),
    description="Features and embeddings of one batch of tracks.",
)
rebuild_tables = dg.define_asset_job(
    "rebuild_tables",
    dg.AssetSelection.assets(clap_embeddings_normalized, retrieval_index, warehouse_tables, notebook_exports),
    description="Centre and index the embeddings of all tracks, publish warehouse.duckdb, write the exports.",
)

verify_tables = dg.define_asset_job(
    "verify_tables",
    dg.AssetSelection.checks(published_tables_agree, index_covers_library, exports_load),
    description="Compare what people read with the record; what differs is rebuilt.",
)

JOBS = (refresh_manifest, analyse_batch, rebuild_tables, verify_tables, maintenance)
