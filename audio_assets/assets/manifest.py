"""The preprocessed manifest: every track the library names, measured, and put into a batch."""

from typing import Any

import dagster as dg
from pydantic import Field

from audio_assets.assets.reporting import OWNERS, column_schema, counts_table, preview
from audio_assets.builds import LIBRARY_SIGNATURE
from audio_assets.intake import take_in
from audio_assets.partitions import register_batches
from audio_assets.warehouse import RECORD
from resources.analysis_pool import AnalysisPool
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

_SHOWN_MISSING = 50


class ManifestConfig(dg.Config):
    """How to look at the library."""

    settle_s: float = Field(
        default=0.0, ge=0, description="Leave files alone that changed less than this long ago [s]."
    )


@dg.asset(
    group_name="library",
    kinds={"python", "parquet"},
    owners=OWNERS,
    code_version="1",
    metadata={"dagster/column_schema": column_schema(RECORD["track_manifest"])},
)
def track_manifest(
    context: dg.AssetExecutionContext,
    library: TrackLibrary,
    warehouse: Warehouse,
    analysis_pool: AnalysisPool,
    config: ManifestConfig,
) -> dg.MaterializeResult[None]:
    """Every track the library names: its manifest columns, what was measured of the file, and its batch.

    New tracks open new batch partitions for the assets downstream. Tracks that are missing or unusable
    are recorded with the reason.
    """
    warehouse.prepare()
    # Before the files are read: what changes from here on has another signature, and is looked at again.
    listing = library.listing(config.settle_s)
    with analysis_pool.open() as pool:
        intake = take_in(
            warehouse.record,
            library.root_path,
            library.manifest_path,
            library.limits,
            pool.map_unordered,
            batch_size=library.batch_size,
            settling=listing.settling,
        )
    new_batches = register_batches(context.instance, intake.batches)
    for entry in [entry for entry in intake.ledger if entry.failure_code][:_SHOWN_MISSING]:
        context.log.warning(f"{entry.song_id}: {entry.failure_code}: {entry.failure_message}")
    metadata: dict[str, Any] = {
        "dagster/row_count": sum(intake.statuses.values()) - intake.statuses["removed"],
        "tracks_live": intake.statuses["live"],
        "tracks_missing": intake.statuses["missing"],
        "tracks_rejected": intake.statuses["rejected"],
        "tracks_removed": intake.statuses["removed"],
        "tracks_new": intake.n_new,
        "tracks_changed": intake.n_changed,
        "tracks_moved": intake.n_moved,
        "files_settling": len(listing.settling),
        LIBRARY_SIGNATURE: listing.signature,
        "batches": len(intake.batches),
        "batches_new": len(new_batches),
        "preprocessing": counts_table(intake.steps, "step", "rows left"),
        "preview": preview(intake.table, RECORD["track_manifest"]),
    }
    if intake.failures:
        metadata["failures"] = counts_table(dict(intake.failures.most_common()), "reason")
    return dg.MaterializeResult(metadata=metadata)
