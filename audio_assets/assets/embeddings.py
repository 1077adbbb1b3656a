"""CLAP embeddings: raw, one partition a batch of tracks; and centred over all tracks."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt

from audio_assets.assets.reporting import (
    OWNERS,
    batch_metadata,
    log_failures,
    pictures,
    published_table,
    query,
    rounded,
)
from audio_assets.builds import BUILT_OF, EMBEDDINGS, INPUTS, NORMALIZED, inputs_digest
from audio_assets.corpus import Centring, normalise_corpus, setting_values
from audio_assets.embeddings import FRAMES, MEL_BANDS, TrackVectors, pool_windows
from audio_assets.failures import TrackFailure
from audio_assets.gate import require_proven, written
from audio_assets.library import Entry
from audio_assets.partitions import BatchConfig, track_batches
from audio_assets.plots import cosine_histogram
from audio_assets.tracks import track_log_mel
from audio_assets.warehouse import Outcome, complete_batch
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.progress import Progress
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse


@dg.asset(
    partitions_def=track_batches,
    deps=["track_manifest"],
    group_name="analysis",
    kinds={"huggingface", "pytorch", "parquet"},
    owners=OWNERS,
    code_version="1",
    pool="clap",
    metadata=published_table("clap_embeddings"),
)
def clap_embeddings(
    context: dg.AssetExecutionContext,
    library: TrackLibrary,
    warehouse: Warehouse,
    analysis_pool: AnalysisPool,
    clap_model: ClapModel,
    progress: dg.ResourceParam[Progress],
    config: BatchConfig,
) -> dg.MaterializeResult[None]:
    """Raw CLAP audio embedding of each track of the batch: 512 numbers, unit length.

    Several 10-s windows spread over the track are embedded and averaged, always the same ones.

    ```sql
    SELECT model_id, precision, windowing, count(*) AS n_tracks FROM clap_embeddings GROUP BY ALL;

    SELECT song_id, code, message FROM track_failures WHERE stage = 'embedding';
    ```
    """
    batch = context.partition_key
    settings = clap_model.settings()
    work = partial(track_log_mel, library.root_path, library.limits, settings.windowing)

    def compute(todo: Sequence[Entry]) -> Iterator[Outcome]:
        advance = progress.start(f"{batch} embeddings", len(todo), context.log)
        encoder = clap_model.encoder()
        with analysis_pool.open() as pool:
            heard = pool.map_unordered(work, todo)
            spectrograms = (((track, result), _take_log_mel(result)) for track, result in heard)
            for (track, result), embedded in encoder.embed_tracks(spectrograms):
                yield _outcome(track, result, embedded, setting_values(settings))
                advance()

    tracks = warehouse.live_tracks_of(batch)
    version = ("settings_version", settings.version)
    summary = complete_batch(
        warehouse.record, "clap_embeddings", batch, tracks, version, compute, config.anew
    )
    log_failures(context.log, summary)
    return dg.MaterializeResult(
        metadata={
            **batch_metadata(summary, "clap_embeddings", batch, warehouse),
            **written(warehouse.record, "clap_embeddings", batch),
            "model": f"{settings.model_id}@{settings.revision}",
            "settings_version": settings.version,
        }
    )


def _take_log_mel(result: dict[str, Any] | TrackFailure) -> npt.NDArray[np.float32]:
    if isinstance(result, TrackFailure):
        return np.empty((0, FRAMES, MEL_BANDS), dtype=np.float32)
    spectrograms: npt.NDArray[np.float32] = result.pop("log_mel")
    return spectrograms


def _outcome(
    track: Entry, result: dict[str, Any] | TrackFailure, embedded: TrackVectors, settings: dict[str, str]
) -> Outcome:
    """Make a row of what a worker heard of a track and what the model made of it."""
    if isinstance(result, TrackFailure):
        return Outcome(track.song_id, result)
    elapsed_s = result.pop("elapsed_s") + embedded.elapsed_s
    try:
        embedding = pool_windows(embedded.vectors)
    except TrackFailure as failure:
        return Outcome(track.song_id, failure)
    row = {**result, **settings, "n_windows": len(embedded.vectors), "embedding": embedding}
    return Outcome(track.song_id, row, elapsed_s)


@dg.asset(
    deps=[clap_embeddings],
    group_name="analysis",
    kinds={"numpy", "parquet"},
    owners=OWNERS,
    code_version="1",
    metadata=published_table("clap_embeddings_normalized"),
)
def clap_embeddings_normalized(
    context: dg.AssetExecutionContext, warehouse: Warehouse, clap_model: ClapModel
) -> dg.MaterializeResult[None]:
    """Embeddings minus the mean over all tracks, then each of unit length.

    Only rows of live tracks, made with the model and windowing in force, go into it.

    ```sql
    SELECT b.song_id, array_inner_product(a.embedding, b.embedding) AS cosine
    FROM clap_embeddings_normalized AS a, clap_embeddings_normalized AS b
    WHERE a.song_id = (SELECT min(song_id) FROM clap_embeddings_normalized) ORDER BY cosine DESC LIMIT 10;
    ```
    """
    settings = clap_model.settings()
    made_of = inputs_digest(warehouse.record, INPUTS[NORMALIZED])
    require_proven(context.instance, warehouse.record, [EMBEDDINGS])
    centring = normalise_corpus(warehouse.record, settings)
    if centring.left_out:
        context.log.warning(f"no direction once centred, left out: {', '.join(centring.left_out[:20])}")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": centring.after.n_samples,
            BUILT_OF: made_of,
            **written(warehouse.record, NORMALIZED),
            "tracks_left_out": len(centring.left_out),
            "settings_version": settings.version,
            **_spread(centring),
            **pictures(
                cosines=(
                    cosine_histogram(centring.raw, centring.normalised),
                    "Cosines of pairs of tracks, before and after centring",
                )
            ),
            "query": query(
                warehouse.path,
                "SELECT song_id, code, message FROM track_failures WHERE stage = 'normalisation'",
                live=True,
            ),
            "file": dg.MetadataValue.path(str(warehouse.record.path("clap_embeddings_normalized"))),
        }
    )


def _spread(centring: Centring) -> dict[str, float]:
    values = {
        "mean_pairwise_cosine_raw": centring.before.mean_pairwise_cosine,
        "std_pairwise_cosine_raw": centring.before.std_pairwise_cosine,
        "effective_rank_raw": centring.before.effective_rank,
        "mean_pairwise_cosine_centred": centring.after.mean_pairwise_cosine,
        "std_pairwise_cosine_centred": centring.after.std_pairwise_cosine,
        "effective_rank_centred": centring.after.effective_rank,
    }
    return {name: rounded(value) for name, value in values.items() if value is not None}
