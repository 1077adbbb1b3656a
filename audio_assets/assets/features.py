"""The audio feature table, one partition a batch of tracks."""

from collections.abc import Iterator, Sequence
from functools import partial

import dagster as dg

from audio_assets.assets.reporting import OWNERS, batch_metadata, column_schema
from audio_assets.failures import TrackFailure
from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.gate import written
from audio_assets.library import Entry
from audio_assets.outstanding import FEATURE_VERSION
from audio_assets.partitions import BatchConfig, track_batches
from audio_assets.tracks import track_features
from audio_assets.warehouse import PUBLISHED, Outcome, complete_batch
from resources.analysis_pool import AnalysisPool
from resources.progress import Progress
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse


@dg.asset(
    partitions_def=track_batches,
    deps=["track_manifest"],
    group_name="analysis",
    kinds={"python", "parquet"},
    owners=OWNERS,
    code_version=EXTRACTOR_VERSION,
    pool="cpu",
    metadata={"dagster/column_schema": column_schema(PUBLISHED["audio_features"][1])},
)
def audio_features(
    context: dg.AssetExecutionContext,
    library: TrackLibrary,
    warehouse: Warehouse,
    analysis_pool: AnalysisPool,
    progress: dg.ResourceParam[Progress],
    config: BatchConfig,
) -> dg.MaterializeResult[None]:
    """56 rhythm, spectral and tonal features of each track of the batch (librosa and essentia).

    A track that cannot be analysed has no row here; `track_failures` has it, with the reason.
    """
    batch = context.partition_key
    work = partial(track_features, library.root_path, library.limits)

    def compute(todo: Sequence[Entry]) -> Iterator[Outcome]:
        advance = progress.start(f"{batch} features", len(todo), context.log)
        with analysis_pool.open() as pool:
            for track, result in pool.map_unordered(work, todo):
                if isinstance(result, TrackFailure):
                    yield Outcome(track.song_id, result)
                else:
                    yield Outcome(track.song_id, result, result.pop("elapsed_s"))
                advance()

    tracks = warehouse.live_tracks_of(batch)
    summary = complete_batch(
        warehouse.record, "audio_features", batch, tracks, FEATURE_VERSION, compute, config.anew
    )
    return dg.MaterializeResult(
        metadata={
            **batch_metadata(summary, PUBLISHED["audio_features"][1]),
            **written(warehouse.record, "audio_features", batch),
        }
    )
