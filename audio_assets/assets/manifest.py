"""The preprocessed manifest: every track the library names, measured, and put into a batch."""

from typing import Any

import dagster as dg
from pydantic import Field

from audio_assets.assets.reporting import OWNERS, counts_table, preview, published_table, query, rows_table
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
    metadata=published_table("manifest"),
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

    ```sql
    SELECT status, codec, count(*) AS n_tracks, round(sum(duration_s) / 3600, 2) AS total_h
    FROM manifest GROUP BY ALL ORDER BY n_tracks DESC;

    SELECT song_id, audio_path, failure_code, failure_message FROM manifest WHERE status <> 'live';
    ```
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
    unusable = [entry for entry in intake.ledger if entry.failure_code]
    for entry in unusable[:_SHOWN_MISSING]:
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
        "query": query(warehouse.path, "SELECT * FROM manifest", live=True),
        "file": dg.MetadataValue.path(str(warehouse.record.path("track_manifest"))),
        **{f"failed_{reason}": count for reason, count in intake.failures.most_common()},
    }
    if unusable:
        names = ("song_id", "failure_code", "failure_message")
        metadata["failed_tracks"] = rows_table(names, map(vars, unusable[:_SHOWN_MISSING]))
    return dg.MaterializeResult(metadata=metadata)
