"""The audio feature table, one partition a batch of tracks."""

from collections.abc import Iterator, Sequence
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from audio_assets.assets.reporting import OWNERS, batch_metadata, log_failures, published_table, rounded
from audio_assets.failures import TrackFailure
from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.gate import written
from audio_assets.library import Entry
from audio_assets.outstanding import FEATURE_VERSION
from audio_assets.partitions import BatchConfig, track_batches
from audio_assets.tracks import track_features
from audio_assets.warehouse import Outcome, complete_batch
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
    metadata=published_table("audio_features"),
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

    A track that cannot be analysed has no row here; `track_failures` has it, with the reason. Tempi and keys
    of the whole library are drawn on the page of `warehouse_tables`.

    ```sql
    SELECT song_id, round(tempo_bpm, 1) AS tempo_bpm, key_name(key_cos, key_sin, is_minor) AS key, audio_path
    FROM audio_features JOIN manifest USING (song_id) ORDER BY tempo_bpm DESC LIMIT 20;

    SELECT song_id, code, message FROM track_failures WHERE stage = 'features';
    ```
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

    live_tracks = partial(warehouse.live_tracks_of, batch)
    summary = complete_batch(
        warehouse.record, "audio_features", batch, live_tracks, FEATURE_VERSION, compute, config.anew
    )
    log_failures(context.log, summary)
    return dg.MaterializeResult(
        metadata={
            **batch_metadata(summary, "audio_features", batch, warehouse),
            **written(warehouse.record, "audio_features", batch),
            **_music(summary.table),
        }
    )


def _music(table: pa.Table) -> dict[str, float]:
    """Numbers by which a batch that is not like the others is seen in the UI's plots."""
    values = {
        "tempo_bpm_median": pc.approximate_median(table["tempo_bpm"]).as_py(),
        "minor_share": pc.mean(table["is_minor"]).as_py(),
        "key_strength_median": pc.approximate_median(table["key_strength"]).as_py(),
    }
    return {name: rounded(value) for name, value in values.items() if value is not None}
