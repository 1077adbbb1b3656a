"""Asset checks: what must be true of a table before anything is built on it.

A check marked blocking stops the run before the assets downstream. Checks read the record, as it lies on
disk, and not what the asset remembers. Their names are constants, so that a rename is a decision. One that
fails names the tracks, the first few in its description and the rest in its metadata, and says what to do.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import zip_longest
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audio_assets.assets import (
    audio_features,
    clap_embeddings,
    clap_embeddings_normalized,
    notebook_exports,
    retrieval_index,
    track_manifest,
    warehouse_tables,
)
from audio_assets.assets.reporting import rows_table
from audio_assets.builds import EMBEDDINGS, NORMALIZED, is_made_of_present
from audio_assets.corpus import (
    TRACKS,
    RawSurvey,
    index_info,
    load_index,
    raw_corpus,
    survey,
    tracks_digest,
    vectors_of,
)
from audio_assets.embeddings import (
    ZERO_NORM_LIMIT,
    SanityMeter,
    audio_cone,
    hubness,
    pool_windows,
)
from audio_assets.failures import TrackFailure
from audio_assets.features import FEATURES
from audio_assets.partitions import track_batches
from audio_assets.tracks import track_log_mel
from audio_assets.warehouse import (
    EXPORTED_COLUMNS,
    EXPORTED_TABLES,
    PUBLISHED,
    exported_blocks,
    fingerprint,
    newest_generation,
    open_live,
)
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

_SHOWN = 10
_LISTED = 200
_AGAIN = "Materialise {} again; if it stays, look at the run's log and report it as an error of this program."
_BATCH_AGAIN = _AGAIN.format("the batch")
_NORMALISE_AGAIN = _AGAIN.format("clap_embeddings_normalized and retrieval_index")
_PUBLISH_AGAIN = "Materialise warehouse_tables and notebook_exports again."
_UNIT_TOLERANCE = 1e-5
_MEAN_TOLERANCE = 1e-6
_SELF_TOLERANCE = 1e-6
#: A mean cosine this small leaves nothing for centring to remove.
_NO_CONE = 0.05
#: With so many tracks, a key that 3 % of music is in is absent by chance once in 400 libraries.
_TRACKS_FOR_ALL_KEYS = 200
#: Fewer tracks may well share their mode, or all have one tempo peak.
_TRACKS_FOR_CONSTANT = 30
#: Encoders pad by some 50 ms; much shorter tracks have been refused as truncated.
_DURATION_TOLERANCE_S = 0.1
_QUERIES = 100
_TWINS = 10
#: Tracks of a batch that are embedded a second time.
_REPEATED = 2
#: 1 - cosine of one file's two embeddings. Above the first, something is not repeatable: float32 has 6e-8,
#: and one file gives one vector, whatever its batch. Above the second it is another model or another sound:
#: between float32 and bfloat16 it is 4e-5.
_REPEAT_TOLERANCE = 1e-6
_REPEAT_LIMIT = 1e-3
#: The measure is from Radovanovic et al. (JMLR 11, 2010), the limit is ours: the skewness of a geometric
#: distribution. Random clouds of 3 to 512 dimensions have 0.1 to 0.9 when centred, and 1.4 to 3.4 when not.
_HUBNESS_LIMIT = 2.0
#: In a smaller library ten neighbours are no neighbourhood.
_TRACKS_FOR_HUBNESS = 100
#: A tenth of the spread of the vectors: former normalised vectors and exported means are out of date.
_DRIFT_LIMIT = 0.1


#: Whoever removed what was published finds it made again all the same (``builds``).
_NOTHING_YET = dg.AssetCheckResult(passed=True, description="Nothing is published yet.")


def _result(
    problems: Iterable[str],
    *,
    do: str = "",
    tracks: Iterable[str] = (),
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    **metadata: object,
) -> dg.AssetCheckResult:
    """Pass where there are no problems; else say what to do, and to which tracks.

    What was looked at is told in either case.
    """
    found = list(problems)
    known = {name: value for name, value in metadata.items() if value is not None}
    summary = ", ".join(f"{name}: {value}" for name, value in known.items() if isinstance(value, int))
    listed = [{"song_id": song_id} for song_id in sorted(set(tracks))[:_LISTED]]
    shown: dict[str, Any] = {**known, **({"wrong_tracks": rows_table(["song_id"], listed)} if listed else {})}
    return dg.AssetCheckResult(
        passed=not found,
        severity=severity,
        description=f"{'; '.join(found)}. {do}" if found else summary or None,
        metadata=shown,
    )


def _shown(ids: Iterable[str]) -> str:
    listed = sorted(ids)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _repeated_ids(ids: Iterable[str]) -> list[str]:
    return [song_id for song_id, count in Counter(ids).items() if count > 1]


def _rows(
    warehouse: Warehouse, name: str, batch: str | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    table = warehouse.record.read(name, batch, columns=columns)
    if table is None:
        raise dg.Failure(f"{name} has no recorded rows; materialise it first")
    return table


def _succeeded(table: pa.Table) -> pa.Table:
    return table.filter(table["failure_code"].is_null())


# --- track_manifest ---------------------------------------------------------------------------------


@dg.asset_check(asset=track_manifest, blocking=True)
def manifest_ids_unique(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Every track has one id, and each id one track."""
    ids = [entry.song_id for entry in warehouse.ledger()]
    twice = _repeated_ids(ids)
    problems = [f"{len(twice)} ids occur twice: {_shown(twice)}"] if twice else []
    if any(not song_id.strip() for song_id in ids):
        problems.append("an id is blank")
    return _result(
        problems,
        do="Give every track of the manifest an id of its own, and materialise track_manifest again.",
        tracks=twice,
        rows=len(ids),
    )


@dg.asset_check(asset=track_manifest)
def manifest_tracks_available(warehouse: Warehouse) -> dg.AssetCheckResult:
    """The named tracks are on disk and can be analysed; says which are not."""
    ledger = [entry for entry in warehouse.ledger() if entry.status != "removed"]
    lost = [entry.song_id for entry in ledger if entry.status != "live"]
    live = len(ledger) - len(lost)
    problems = [f"{len(lost)} of {len(ledger)} tracks cannot be analysed: {_shown(lost)}"] if lost else []
    return _result(
        problems if live or lost else ["the library has no track"],
        do="failed_tracks of the materialisation says why. Mend or remove the files, or their rows of the "
        "manifest; until then they are left out, and listed in track_failures.",
        tracks=lost,
        severity=dg.AssetCheckSeverity.WARN if live else dg.AssetCheckSeverity.ERROR,
        live=live,
        unavailable=len(lost),
    )


# --- audio_features and clap_embeddings, one batch at a time ----------------------------------------


def _completeness(warehouse: Warehouse, name: str, batch: str) -> dg.AssetCheckResult:
    rows = _rows(warehouse, name, batch)
    ids = rows["song_id"].to_pylist()
    found = set(zip(ids, rows["content_sha256"].to_pylist(), strict=True))
    live = {(track.song_id, track.content_sha256) for track in warehouse.live_tracks_of(batch)}
    twice = _repeated_ids(ids)
    lost = {song_id for song_id, _ in live - found}
    problems = []
    if twice:
        problems.append(f"{len(twice)} ids occur twice: {_shown(twice)}")
    if lost:
        problems.append(f"neither a row nor a recorded failure for {_shown(lost)}, as their files are now")
    failed = rows["failure_code"].drop_null()
    return _result(problems, do=_BATCH_AGAIN, tracks={*twice, *lost}, live=len(live), failed=len(failed))


def _something_analysed(warehouse: Warehouse, name: str, batch: str) -> dg.AssetCheckResult:
    live = pa.array([track.song_id for track in warehouse.live_tracks_of(batch)], pa.string())
    rows = _rows(warehouse, name, batch, ("song_id", "failure_code"))
    rows = rows.filter(pc.is_in(rows["song_id"], value_set=live))
    analysed = _succeeded(rows).num_rows
    problems = []
    if rows.num_rows and not analysed:
        reasons = sorted(set(rows["failure_code"].to_pylist()))
        problems.append(f"none of {rows.num_rows} tracks could be analysed ({', '.join(reasons)})")
    return _result(
        problems,
        do="failed_tracks of the materialisation says why of each. Mend the cause, then 'audio-assets retry "
        "--failed' analyses them again.",
        analysed=analysed,
        failed=rows.num_rows - analysed,
    )


@dg.asset_check(asset=audio_features, blocking=True, partitions_def=track_batches)
def features_complete(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """Ids are unique, and each live track of the batch has numbers or a recorded failure."""
    return _completeness(warehouse, "audio_features", context.partition_key)


@dg.asset_check(asset=audio_features, partitions_def=track_batches)
def features_analysed(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """At least one track of the batch could be analysed."""
    return _something_analysed(warehouse, "audio_features", context.partition_key)


@dg.asset_check(asset=audio_features, blocking=True, partitions_def=track_batches)
def features_finite(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """No feature is NaN or infinite."""
    rows = _succeeded(_rows(warehouse, "audio_features", context.partition_key))
    wrong = {}
    for feature in FEATURES:
        values = rows[feature.name].fill_null(0).to_numpy()
        wrong[f"{feature.name} is not finite"] = ~np.isfinite(values)
    return _feature_result(rows, wrong)


@dg.asset_check(asset=audio_features, blocking=True, partitions_def=track_batches)
def features_in_range(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """No feature leaves the range that its definition allows."""
    rows = _succeeded(_rows(warehouse, "audio_features", context.partition_key))
    wrong = {}
    for feature in FEATURES:
        values = rows[feature.name].to_numpy()  # NULL is NaN here, which is on neither side of a limit
        low = -np.inf if feature.lower is None else feature.lower
        high = np.inf if feature.upper is None else feature.upper
        limits = f"[{feature.lower}, {feature.upper}]"
        wrong[f"{feature.name} is outside {limits}"] = (values < low) | (values > high)
    return _feature_result(rows, wrong)


def _feature_result(rows: pa.Table, wrong: dict[str, npt.NDArray[np.bool_]]) -> dg.AssetCheckResult:
    """Judge features by masks of the rows that are wrong, by what is wrong with them."""
    ids = np.array(rows["song_id"].to_pylist(), dtype=np.str_)
    found = {problem: ids[mask].tolist() for problem, mask in wrong.items() if mask.any()}
    return _result(
        [f"{problem} in {len(tracks)} rows ({_shown(tracks)})" for problem, tracks in found.items()],
        do=_BATCH_AGAIN,
        tracks=(song_id for tracks in found.values() for song_id in tracks),
        rows=rows.num_rows,
    )


@dg.asset_check(asset=audio_features, partitions_def=track_batches)
def durations_agree(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """Tracks are as long as their files declare, where they do; says which are not."""
    rows = _succeeded(_rows(warehouse, "audio_features", context.partition_key))
    declared_s, decoded_s = (rows[f"{kind}_duration_s"].to_numpy() for kind in ("declared", "decoded"))
    off = np.abs(decoded_s - declared_s) > _DURATION_TOLERANCE_S  # NaN, declared by no file, is not
    ids = [song_id for song_id, is_off in zip(rows["song_id"].to_pylist(), off, strict=True) if is_off]
    return _result(
        [f"decoded to another length than declared: {_shown(ids)}"] if ids else [],
        do="Listen to their ends: a file that stops early is damaged, so fetch or encode it anew. If only "
        "its header is wrong the numbers are right.",
        tracks=ids,
        severity=dg.AssetCheckSeverity.WARN,
        declared=int(np.sum(np.isfinite(declared_s))),
        disagreeing=len(ids),
    )


@dg.asset_check(asset=clap_embeddings, blocking=True, partitions_def=track_batches)
def embeddings_complete(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """Ids are unique, and each live track of the batch has a vector or a recorded failure."""
    return _completeness(warehouse, "clap_embeddings", context.partition_key)


@dg.asset_check(asset=clap_embeddings, partitions_def=track_batches)
def embeddings_analysed(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """At least one track of the batch could be embedded."""
    return _something_analysed(warehouse, "clap_embeddings", context.partition_key)


@dg.asset_check(asset=clap_embeddings, blocking=True, partitions_def=track_batches)
def embeddings_valid(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """No vector holds NaN or infinity or has zero length; all have 512 dimensions and unit length."""
    return _vector_result([_rows(warehouse, "clap_embeddings", context.partition_key)], _BATCH_AGAIN)


def _vector_result(blocks: Iterable[pa.Table], do: str) -> dg.AssetCheckResult:
    meter = SanityMeter()
    wrong: dict[str, list[str]] = {}
    for rows in map(_succeeded, blocks):
        present = rows["embedding"].is_valid()
        if without := rows.filter(pc.invert(present))["song_id"].to_pylist():
            wrong.setdefault("no vector for", []).extend(without)
        rows = rows.filter(present)
        vectors = vectors_of(rows)
        meter.update(vectors)
        for fault, mask in _vector_faults(vectors).items():
            if mask.any():
                wrong.setdefault(fault, []).extend(rows["song_id"].filter(pa.array(mask)).to_pylist())
    return _result(
        [f"{fault} {_shown(tracks)}" for fault, tracks in wrong.items()],
        do=do,
        tracks=(song_id for tracks in wrong.values() for song_id in tracks),
        **asdict(meter.record()),
    )


def _vector_faults(vectors: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks of the rows that are wrong, by what is wrong with them."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    finite, off = np.isfinite(vectors).all(axis=1), np.abs(lengths - 1)
    return {
        "NaN or infinity in": ~finite,
        "zero length of": lengths <= ZERO_NORM_LIMIT,
        "length is off 1 in": finite & (lengths > ZERO_NORM_LIMIT) & (off > _UNIT_TOLERANCE),
    }


@dg.asset_check(asset=clap_embeddings, blocking=True, partitions_def=track_batches)
def embeddings_repeatable(
    context: dg.AssetCheckExecutionContext,
    library: TrackLibrary,
    warehouse: Warehouse,
    analysis_pool: AnalysisPool,
    clap_model: ClapModel,
) -> dg.AssetCheckResult:
    """Two tracks of the batch, read and embedded once more from their files, give the vectors on record.

    A difference above 1e-6 warns: something is not repeatable, or another machine computes otherwise. Above
    1e-3 it is an error: vectors of another model or another sound.
    """
    settings = clap_model.settings()
    rows = _succeeded(_rows(warehouse, "clap_embeddings", context.partition_key))
    # Rows of other settings wait to be computed again; they are on record, and no comparison.
    rows = rows.filter(pc.equal(rows["settings_version"], settings.version))
    hashes = dict(zip(rows["song_id"].to_pylist(), rows["content_sha256"].to_pylist(), strict=True))
    stored = dict(zip(rows["song_id"].to_pylist(), vectors_of(rows), strict=True))
    live = warehouse.live_tracks_of(context.partition_key)
    same = [track for track in live if hashes.get(track.song_id) == track.content_sha256]
    # By hash, so that it is not always the first two, and always the same two.
    chosen = sorted(same, key=lambda track: track.content_sha256 or "")[:_REPEATED]
    work = partial(track_log_mel, library.root_path, library.limits, settings.windowing)
    off: dict[str, float] = {}
    unread, without_vector = [], []
    with analysis_pool.open() as pool:
        for track, result in pool.map_unordered(work, chosen):
            if isinstance(result, TrackFailure):
                unread.append(f"{track.song_id}: {result}")
                continue
            try:
                again = pool_windows(clap_model.encoder().embed_log_mel(result["log_mel"]))
            except TrackFailure as failure:
                without_vector.append(f"{track.song_id}: {failure}")
                continue
            off[track.song_id] = float(1 - again.astype(np.float64) @ stored[track.song_id])
    if without_vector:
        problems = [f"embedded again, there is no vector: {text}" for text in without_vector]
        return _result(problems, do=_BATCH_AGAIN)
    return _repeat_result(off, unread)


def _repeat_result(off: dict[str, float], unread: list[str]) -> dg.AssetCheckResult:
    """Judge by the track whose two vectors differ most; one that could not be read again is no difference."""
    worst = max(off.values(), default=0.0)
    differing = [song_id for song_id, difference in off.items() if not difference <= _REPEAT_TOLERANCE]
    slight = all(difference <= _REPEAT_LIMIT for difference in off.values())  # a NaN is not
    problem = (
        f"embedded again, {_shown(differing)} differ from the record by up to 1 - cosine = {worst:.1e}. "
        "Above 1e-3 it is of another model or sound: materialise the batch again. Below, another kind of "
        "machine made it, and nothing is wrong but the last digits."
    )
    return dg.AssetCheckResult(
        passed=not differing,
        severity=dg.AssetCheckSeverity.WARN if slight else dg.AssetCheckSeverity.ERROR,
        description=problem if differing else "; ".join(unread) or None,
        metadata={"repeated": len(off), "largest_repeat_difference": worst, "not_read_again": len(unread)},
    )


@dg.asset_check(asset=clap_embeddings, partitions_def=track_batches)
def clap_model_healthy(context: dg.AssetCheckExecutionContext, clap_model: ClapModel) -> dg.AssetCheckResult:
    """The model in force was trained, as far as its weights and both towers tell."""
    concerns = clap_model.concerns()
    health = clap_model.health()
    return dg.AssetCheckResult(
        passed=not concerns,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(concerns) or None,
        metadata=asdict(health),
    )


# --- clap_embeddings_normalized ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Raw:
    """Raw vectors that a normalised table was made of, as far as they are still on record.

    Batches may have been written since, and tracks removed; that is for the next build.
    """

    survey: RawSurvey
    #: How many of the table's tracks have other bytes by now, or a failure.
    n_changed: int


def _raw(warehouse: Warehouse, clap_model: ClapModel, version: str | None) -> _Raw:
    """Raw vectors of a version, read once for all checks of a run, unless batches end meanwhile."""
    record = warehouse.record
    settings_version = record.metadata(NORMALIZED, version=version).get(
        "settings_version", clap_model.settings().version
    )
    inputs = fingerprint(record.root, (EMBEDDINGS, NORMALIZED))
    seen = frozenset((path, *status) for path, status in inputs.items())
    return _read_raw(warehouse.data_dir, version, seen, settings_version)


@lru_cache(maxsize=1)
def _read_raw(
    data_dir: str, version: str | None, _seen: frozenset[tuple[str | int, ...]], settings_version: str
) -> _Raw:
    record = Warehouse(data_dir=data_dir).record
    normalised = record.read(NORMALIZED, version=version, columns=["song_id", "content_sha256"])
    assert normalised is not None, "its checks follow its materialisation"
    with record.snapshot() as still:
        raw = raw_corpus(still, settings_version, normalised)
        return _Raw(survey(raw), normalised.num_rows - len(raw.track_ids))


def _normalised(warehouse: Warehouse) -> Iterator[pa.Table]:
    """Rows of the normalised table that have a vector, or should, block by block."""
    columns = ("song_id", "failure_code", "embedding")
    return map(_succeeded, warehouse.record.read_blocks("clap_embeddings_normalized", columns))


@dg.asset_check(asset=clap_embeddings_normalized, blocking=True)
def normalized_valid(warehouse: Warehouse) -> dg.AssetCheckResult:
    """No NaN, infinity or zero length; 512 dimensions; every vector of unit length."""
    return _vector_result(_normalised(warehouse), _NORMALISE_AGAIN)


@dg.asset_check(asset=clap_embeddings_normalized, blocking=True)
def normalized_complete(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, clap_model: ClapModel
) -> dg.AssetCheckResult:
    """Ids are unique and are those of the live tracks with an embedding, when the table was made.

    Where batches or the manifest have changed since, the table is compared with what was noted of them then.
    """
    record = warehouse.record
    rows = _rows(warehouse, NORMALIZED, columns=("song_id", "content_sha256", "failure_code"))
    ids = rows["song_id"].to_pylist()
    noted = record.metadata(NORMALIZED).get(TRACKS)
    with record.snapshot() as still:
        expected = raw_corpus(still, clap_model.settings().version).track_ids.to_pylist()
    # After the record was looked at: what is written later must not count against the table.
    is_of_present = is_made_of_present(context.instance, record, NORMALIZED)
    twice, difference = _repeated_ids(ids), set(ids) ^ set(expected)
    problems = [f"{len(twice)} ids occur twice: {_shown(twice)}"] if twice else []
    if difference and is_of_present:
        problems.append(f"differs from the embedded live tracks in {_shown(difference)}")
    elif noted not in (None, tracks_digest(rows)):
        problems.append("its tracks, or the hashes of their bytes, are not those that it was made of")
    return _result(
        problems,
        do=_NORMALISE_AGAIN,
        tracks={*twice, *(difference if is_of_present else ())},
        rows=len(ids),
        changed_since=0 if is_of_present else len(difference),
        left_out=len(rows["failure_code"].drop_null()),
    )


@dg.asset_check(asset=clap_embeddings_normalized)
def normalized_searchable(warehouse: Warehouse) -> dg.AssetCheckResult:
    """At least one track has a direction once centred, so that there is something to search."""
    rows = _rows(warehouse, "clap_embeddings_normalized", columns=("failure_code",))
    tracks = _succeeded(rows).num_rows
    return _result(
        [] if tracks else ["nothing to search: a library needs at least two different tracks"],
        do="Materialise clap_embeddings of the batches first, or add music.",
        severity=dg.AssetCheckSeverity.WARN,
        rows=tracks,
    )


@dg.asset_check(asset=clap_embeddings_normalized, blocking=True)
def centring_removes_cone(warehouse: Warehouse, clap_model: ClapModel) -> dg.AssetCheckResult:
    """The mean pairwise cosine, exact over all pairs, falls by centring (or was near zero before)."""
    before = _raw(warehouse, clap_model, warehouse.record.drafted_version()).survey.sanity
    meter = SanityMeter()
    for rows in _normalised(warehouse):
        meter.update(vectors_of(rows))
    after = meter.record()
    problems = []
    if before.mean_pairwise_cosine is not None and after.mean_pairwise_cosine is not None:
        fell = after.mean_pairwise_cosine < before.mean_pairwise_cosine
        if not fell and before.mean_pairwise_cosine > _NO_CONE:
            problems.append(
                f"mean pairwise cosine {before.mean_pairwise_cosine:.4f} before centring, "
                f"{after.mean_pairwise_cosine:.4f} after: it must fall"
            )
    return _result(
        problems,
        do=_NORMALISE_AGAIN,
        mean_pairwise_cosine_raw=before.mean_pairwise_cosine,
        std_pairwise_cosine_raw=before.std_pairwise_cosine,
        effective_rank_raw=before.effective_rank,
        mean_pairwise_cosine_centred=after.mean_pairwise_cosine,
        std_pairwise_cosine_centred=after.std_pairwise_cosine,
        effective_rank_centred=after.effective_rank,
    )


@dg.asset_check(asset=clap_embeddings_normalized)
def raw_embeddings_spread(warehouse: Warehouse, clap_model: ClapModel) -> dg.AssetCheckResult:
    """Raw embeddings do not all point the same way, as an untrained model's do."""
    survey_of_raw = _raw(warehouse, clap_model, warehouse.record.drafted_version()).survey
    mean_cosine = survey_of_raw.sanity.mean_pairwise_cosine
    problem = audio_cone(mean_cosine)
    if problem and clap_model.checkpoint().is_demo:
        problem = f"The demo model's vectors lie close together: mean pairwise cosine {mean_cosine:.3f}."
    return dg.AssetCheckResult(
        passed=problem is None,
        severity=dg.AssetCheckSeverity.WARN,
        description=problem,
        metadata={} if mean_cosine is None else {"mean_pairwise_cosine_raw": mean_cosine},
    )


# --- retrieval_index --------------------------------------------------------------------------------


@dg.asset_check(asset=retrieval_index, blocking=True)
def index_covers_normalized(warehouse: Warehouse) -> dg.AssetCheckResult:
    """The index holds exactly the normalised tracks in their order, each with its vector."""
    table = _succeeded(_rows(warehouse, "clap_embeddings_normalized", columns=("song_id", "failure_code")))
    normalised = table["song_id"].to_pylist()
    ids = _rows(warehouse, "retrieval_index", columns=("song_id",))["song_id"].to_pylist()
    if ids != normalised:
        wrong = {song_id for pair in zip_longest(ids, normalised) if len(set(pair)) > 1 for song_id in pair}
        problem = f"index and normalised table differ in {_shown(filter(None, wrong))}"
        return _result([problem], do=_NORMALISE_AGAIN, tracks=filter(None, wrong), rows=len(ids))
    wrong = set(_of_other_vectors(warehouse))
    problems = [f"the index holds other vectors than the normalised table: {_shown(wrong)}"] if wrong else []
    return _result(problems, do=_NORMALISE_AGAIN, tracks=wrong, rows=len(ids))


def _of_other_vectors(warehouse: Warehouse) -> Iterator[str]:
    """Tracks whose vector in either table is not the one that is searched; all have the same order."""
    stored = load_index(warehouse.record)
    if stored is None:
        return
    index, _ = stored
    indexed = warehouse.record.read_blocks("retrieval_index", ("song_id", "embedding"))
    for blocks in (_normalised(warehouse), indexed):
        start = 0
        for rows in blocks:
            searched = index.embeddings[start : start + rows.num_rows]
            differs = np.any(vectors_of(rows) != searched, axis=1)
            yield from rows["song_id"].filter(pa.array(differs)).to_pylist()
            start += rows.num_rows


@dg.asset_check(asset=retrieval_index, blocking=True)
def index_mean_is_raw_mean(warehouse: Warehouse, clap_model: ClapModel) -> dg.AssetCheckResult:
    """The mean stored with the index is that of the raw vectors that were normalised.

    Of tracks that have other bytes meanwhile only the length of their former vectors is known, which is 1.
    """
    stored = load_index(warehouse.record)
    if stored is None:
        return _result([], rows=0)
    index, _ = stored
    raw = _raw(warehouse, clap_model, warehouse.record.version_in_force())
    n_same = raw.survey.sanity.n_samples
    rows = n_same + raw.n_changed
    share = raw.n_changed / rows
    known = (1 - share) * raw.survey.mean if n_same else np.zeros_like(index.mean)
    # The rest is a sum of unit vectors, which is no longer than their number.
    off = float(np.linalg.norm(index.mean - known))
    return _result(
        [] if off <= share + _MEAN_TOLERANCE else [f"the stored mean is off the raw mean by {off:.2e}"],
        do=_NORMALISE_AGAIN,
        rows=rows,
        changed_since=raw.n_changed,
        distance=off,
    )


@dg.asset_check(asset=retrieval_index, blocking=True)
def index_finds_stored_tracks(warehouse: Warehouse, clap_model: ClapModel) -> dg.AssetCheckResult:
    """The raw embedding of a stored track finds that track first, at 1."""
    stored = load_index(warehouse.record)
    if stored is None:
        return _result([], queried=0)
    index, _ = stored
    raw = _raw(warehouse, clap_model, warehouse.record.version_in_force()).survey
    rows = np.flatnonzero(np.isin(raw.sampled_ids, index.track_ids))
    rows = rows[:: max(1, len(rows) // _QUERIES)]
    ids, scores = index.search(raw.sample[rows], k=_TWINS)
    # A track shares the first place with its copies: they have the very same vector, and so the same score.
    at_one = np.abs(scores - 1) <= _SELF_TOLERANCE
    lost = [
        raw.sampled_ids[row]
        for row, found, first in zip(rows, ids, at_one, strict=True)
        if raw.sampled_ids[row] not in found[first] and not first.all()
    ]
    problems = [f"do not find themselves at 1: {_shown(lost)}"] if lost else []
    return _result(problems, do=_NORMALISE_AGAIN, tracks=lost, queried=len(rows))


@dg.asset_check(asset=retrieval_index)
def index_without_hubs(warehouse: Warehouse) -> dg.AssetCheckResult:
    """No few tracks are everybody's neighbour: the skewness of how often a track is among the ten nearest."""
    stored = load_index(warehouse.record)
    crowding = hubness(stored[0].embeddings) if stored else None
    if crowding is None:
        return _result([], rows=0)
    judged = crowding.n_samples >= _TRACKS_FOR_HUBNESS
    problem = (
        f"skewness {crowding.skewness:.2f} (limit {_HUBNESS_LIMIT}): one track is among the ten nearest of "
        f"{crowding.largest}, and {crowding.orphan_share:.0%} of the tracks are among nobody's"
    )
    return _result(
        [problem] if judged and crowding.skewness > _HUBNESS_LIMIT else [],
        do="Searches give these tracks too often. Look for many copies of one sound "
        "(examples/sql/07_near_duplicates.sql) and at clap_model_healthy.",
        severity=dg.AssetCheckSeverity.WARN,
        **{f"hubness_{name}": value for name, value in asdict(crowding).items()},
    )


@dg.asset_check(asset=retrieval_index)
def index_mean_steady(warehouse: Warehouse) -> dg.AssetCheckResult:
    """The mean has not moved by more than a tenth of the spread since the index before this one.

    Where it has, by more than chance, the library has changed in kind: normalised vectors that were kept
    from before do not belong to this index.
    """
    info = index_info(warehouse.record)
    if info is None or info.drift is None:
        return _result([], tracks_now=info.n_tracks if info else 0)
    # The mean of n vectors scatters by 1/sqrt(n) of the spread.
    scatter = float(np.sqrt(1 / max(1, info.n_before) + 1 / max(1, info.n_tracks)))
    limit = max(_DRIFT_LIMIT, 2 * scatter)
    moved = info.drift.distance > limit
    problem = f"the mean moved by {info.drift.distance:.3f} of the spread (limit {limit:.3f})"
    return _result(
        [problem] if moved else [],
        do="Nothing is wrong here, but load exported vectors and means anew wherever copies are kept.",
        severity=dg.AssetCheckSeverity.WARN,
        mean_drift=info.drift.distance,
        mean_cosine_to_last=info.drift.cosine,
        tracks_before=info.n_before,
        tracks_now=info.n_tracks,
    )


# --- what people read -------------------------------------------------------------------------------


@dg.asset_check(asset=warehouse_tables)
def published_tables_agree(warehouse: Warehouse) -> dg.AssetCheckResult:
    """The newest published file answers as the live record does: the same rows in every table."""
    import duckdb

    newest = newest_generation(warehouse.path)
    if newest is None:
        return _NOTHING_YET
    problems = []
    with (
        duckdb.connect(str(newest), read_only=True) as published,
        open_live(warehouse.record) as live,
    ):
        for name in PUBLISHED:
            query = f"SELECT count(*), bit_xor(hash(t)) FROM {name} AS t"  # noqa: S608
            if published.execute(query).fetchone() != live.execute(query).fetchone():
                problems.append(f"{name} differs from the record")
    return _result(problems, do=_PUBLISH_AGAIN, tables=len(PUBLISHED))


@dg.asset_check(asset=warehouse_tables)
def index_covers_library(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Every live track with an embedding can be found by a search, or is said to have no direction."""
    with open_live(warehouse.record) as connection:
        rows = connection.execute(
            "SELECT song_id FROM clap_embeddings ANTI JOIN retrieval_index USING (song_id) "
            "ANTI JOIN (FROM track_failures WHERE stage = 'normalisation') USING (song_id)"
        ).fetchall()
        row = connection.execute("SELECT count(*) FROM retrieval_index").fetchone()
    lost = [song_id for (song_id,) in rows]
    return _result(
        [f"not in the index: {_shown(lost)}"] if lost else [],
        do="Materialise clap_embeddings_normalized and retrieval_index again.",
        tracks=lost,
        indexed=row[0] if row else 0,
    )


@dg.asset_check(asset=warehouse_tables)
def feature_columns_vary(warehouse: Warehouse) -> dg.AssetCheckResult:
    """No feature is the same number, or missing, in every track: such a column may be an error in disguise.

    A warning: short sounds rightly have no second tempo, say, and no rebuild would give them one.
    """
    counts = ", ".join(f"count(DISTINCT {feature.name})" for feature in FEATURES)
    with open_live(warehouse.record) as connection:
        row = connection.execute(f"SELECT count(*), {counts} FROM audio_features").fetchone()  # noqa: S608
    assert row is not None
    n_tracks, *distinct = row
    constant = [feature.name for feature, n in zip(FEATURES, distinct, strict=True) if n <= 1]
    judged = n_tracks >= _TRACKS_FOR_CONSTANT and constant
    return _result(
        [f"the same in all {n_tracks} tracks: {', '.join(constant)}"] if judged else [],
        do="Unless the tracks may well share it, as short sounds have no second tempo, do not use them and "
        "report it as an error of this program.",
        severity=dg.AssetCheckSeverity.WARN,
        rows=n_tracks,
    )


@dg.asset_check(asset=warehouse_tables)
def all_keys_possible(warehouse: Warehouse) -> dg.AssetCheckResult:
    """Every one of the twelve tonics occurs, once the library is large enough to expect it.

    A warning: a library may be of one instrument's keys, and no rebuild would change it.
    """
    with open_live(warehouse.record) as connection:
        rows = connection.execute(
            "SELECT key_name(key_cos, key_sin, 0) AS tonic, count(*) FROM audio_features "
            "WHERE key_cos IS NOT NULL GROUP BY tonic"
        ).fetchall()
    counts = {name.removesuffix(" major"): count for name, count in rows}
    total = sum(counts.values())
    problems = []
    if total >= _TRACKS_FOR_ALL_KEYS and len(counts) < 12:
        problems.append(f"only {len(counts)} of 12 tonics occur in {total} tracks: {_shown(counts)}")
    return _result(
        problems,
        do="Unless the library is chosen by key, report it as an error of this program.",
        severity=dg.AssetCheckSeverity.WARN,
        rows=total,
        tonics=len(counts),
        counts=counts,
    )


@dg.asset_check(asset=notebook_exports)
def exports_load(warehouse: Warehouse) -> dg.AssetCheckResult:
    """The NPZ files load without pickle, and the rows of all files are those of the tables."""
    folder = warehouse.exports_path
    if not folder.exists():
        return _NOTHING_YET
    problems = []
    with open_live(warehouse.record) as connection:
        for name, table in EXPORTED_TABLES.items():
            columns = ", ".join(column.name for column in EXPORTED_COLUMNS[name])
            digest = f"SELECT count(*), coalesce(bit_xor(hash(t)), 0) FROM (SELECT {columns} FROM {{}}) AS t"  # noqa: S608
            n_rows = xor = 0
            for block in exported_blocks(folder / name):
                found = connection.register("exported", block).execute(digest.format("exported")).fetchall()
                n_rows, xor = n_rows + found[0][0], xor ^ found[0][1]
            if connection.execute(digest.format(table)).fetchall() != [(n_rows, xor)]:
                problems.append(f"{name} has other rows than {table}")
    return _result(problems, do=_PUBLISH_AGAIN, files=len(EXPORTED_TABLES))


CHECKS = (
    manifest_ids_unique,
    manifest_tracks_available,
    features_complete,
    features_analysed,
    features_finite,
    features_in_range,
    durations_agree,
    embeddings_complete,
    embeddings_analysed,
    embeddings_valid,
    embeddings_repeatable,
    clap_model_healthy,
    normalized_valid,
    normalized_complete,
    normalized_searchable,
    centring_removes_cone,
    raw_embeddings_spread,
    index_covers_normalized,
    index_mean_is_raw_mean,
    index_finds_stored_tracks,
    index_without_hubs,
    index_mean_steady,
    published_tables_agree,
    index_covers_library,
    feature_columns_vary,
    all_keys_possible,
    exports_load,
)
