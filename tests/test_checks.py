"""Each asset check lets good tables pass and catches the damage that it is there for."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import Workplace

from audio_assets import checks
from audio_assets.corpus import (
    TRACKS,
    SpoiltCorpusError,
    index_corpus,
    index_info,
    normalise_corpus,
    raw_corpus,
    survey,
    tracks_digest,
    vectors_of,
)
from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.pipeline import open_instance
from audio_assets.warehouse import Record, connect_live
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

BATCH = "batch-000001"
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tracks: dict[str, Path], clap_checkpoint: Path
) -> Workplace:
    """Five good tracks, all the way through."""
    folder = tmp_path_factory.mktemp("checked")
    workplace = Workplace(folder / "music", folder / "data", str(clap_checkpoint))
    for path in list(tracks.values())[::5]:
        workplace.add(path)
    report = workplace.run()
    assert report.succeeded, report
    return workplace


def evaluate(workplace: Workplace, check: Any) -> dg.AssetCheckResult:
    """Call a check with what it asks for."""
    available = {
        "warehouse": Warehouse(data_dir=str(workplace.data)),
        "clap_model": ClapModel(model_id=workplace.model, offline=True),
        "library": TrackLibrary(root=str(workplace.library)),
        "analysis_pool": AnalysisPool(workers=1),
    }
    wanted = {name: available[name] for name in check.required_resource_keys if name in available}
    is_partitioned = check.check_specs_by_output_name["result"].partitions_def is not None
    with open_instance(workplace.data) as instance:
        context = dg.build_op_context(partition_key=BATCH if is_partitioned else None, instance=instance)
        result = check(*([context] if check.op.compute_fn.has_context_arg() else []), **wanted)
    assert isinstance(result, dg.AssetCheckResult)
    return result


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.check_key.name)
def test_good_tables_pass(finished: Workplace, check: Any) -> None:
    result = evaluate(finished, check)
    # The demo model knows synthesised music only and says so; that is the one complaint here.
    assert result.passed == (check is not checks.clap_model_healthy), result.description


@pytest.fixture
def damaged(finished: Workplace) -> Any:
    """Change a table of the record by force, for the length of a test."""
    originals: dict[Path, tuple[bytes, int]] = {}

    def keep(path: Path) -> None:
        if path not in originals:
            originals[path] = (path.read_bytes(), path.stat().st_mtime_ns)

    def damage(name: str, change: Callable[[Rows], Rows], metadata: dict[str, str] | None = None) -> None:
        batch = BATCH if name in ("audio_features", "clap_embeddings") else None
        record = Record(finished.data / "record")
        path = record.path(name, batch)
        keep(path)
        if name == "retrieval_index":  # as of a version whose vectors are in the table only
            matrix = record.matrix_path(path.parent.name)
            if matrix.exists():
                keep(matrix)
                matrix.unlink()
        table = pq.read_table(path, partitioning=None)
        kept = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()} | (metadata or {})
        rows = change(table.to_pylist())
        schema = table.schema.remove_metadata()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema).replace_schema_metadata(kept), path)

    yield damage
    for path, (content, mtime_ns) in originals.items():
        path.write_bytes(content)
        os.utime(path, ns=(mtime_ns, mtime_ns))  # by which tables know whether they are made of it


def with_value(column: str, value: Any, row: int = 1) -> Callable[[Rows], Rows]:
    return lambda rows: [{**r, column: value} if i == row else r for i, r in enumerate(rows)]


def with_column(column: str, value: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, column: value} for row in rows]


def without_first(rows: Rows) -> Rows:
    return rows[1:]


def with_twin(rows: Rows) -> Rows:
    return [*rows, rows[0]]


def with_rotated_ids(rows: Rows) -> Rows:
    return [{**row, "song_id": rows[i - 1]["song_id"]} for i, row in enumerate(rows)]


def with_vector_entry(value: float) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        vector = list(rows[1]["embedding"])
        vector[7] = value
        return with_value("embedding", vector)(rows)

    return change


def with_swapped_vectors(rows: Rows) -> Rows:
    return [{**row, "embedding": rows[i - 1]["embedding"]} for i, row in enumerate(rows)]


FAILED = {"failure_code": "silent", "failure_message": "x"}
AXIS = [1.0] + [0.0] * 511

DAMAGE = [
    (
        "features_finite",
        "audio_features",
        with_value("tempo_bpm", float("nan")),
        "tempo_bpm is not finite in 1",
    ),
    ("features_finite", "audio_features", with_value("mfcc_1_mean", float("inf")), "mfcc_1_mean"),
    ("features_in_range", "audio_features", with_value("is_minor", 2.0), "is_minor is outside"),
    ("features_in_range", "audio_features", with_value("key_strength", -0.1), "key_strength is outside"),
    ("durations_agree", "audio_features", with_value("declared_duration_s", 1.0), "another length"),
    ("durations_agree", "audio_features", with_value("decoded_duration_s", 1e4), "another length"),
    ("features_complete", "audio_features", without_first, "neither a row nor a recorded failure"),
    ("features_complete", "audio_features", with_twin, "1 ids occur twice"),
    ("features_complete", "audio_features", with_value("song_id", "stranger"), "neither a row"),
    (
        "features_analysed",
        "audio_features",
        lambda rows: [{**row, **FAILED} for row in rows],
        "none of 5 tracks could be analysed",
    ),
    ("embeddings_valid", "clap_embeddings", with_vector_entry(float("nan")), "NaN or infinity"),
    ("embeddings_valid", "clap_embeddings", with_vector_entry(float("-inf")), "NaN or infinity"),
    ("embeddings_valid", "clap_embeddings", with_value("embedding", [0.0] * 512), "zero length"),
    ("embeddings_valid", "clap_embeddings", with_value("embedding", [2.0] + [0.0] * 511), "off 1"),
    ("embeddings_valid", "clap_embeddings", with_value("embedding", None), "no vector"),
    ("embeddings_complete", "clap_embeddings", without_first, "neither a row"),
    (
        "embeddings_analysed",
        "clap_embeddings",
        lambda rows: [{**row, **FAILED} for row in rows],
        "none of 5 tracks",
    ),
    ("embeddings_repeatable", "clap_embeddings", with_swapped_vectors, "differ from the record"),
    ("raw_embeddings_spread", "clap_embeddings", with_column("embedding", AXIS), "lie close together"),
    ("normalized_valid", "clap_embeddings_normalized", with_vector_entry(float("nan")), "NaN"),
    ("normalized_valid", "clap_embeddings_normalized", with_value("embedding", [0.5] + [0.0] * 511), "off 1"),
    ("normalized_complete", "clap_embeddings_normalized", without_first, "differs from the embedded"),
    ("normalized_complete", "clap_embeddings_normalized", with_twin, "occur twice"),
    (
        "normalized_complete",
        "clap_embeddings_normalized",
        with_column("content_sha256", "0"),
        "hashes of their bytes",
    ),
    ("centring_removes_cone", "clap_embeddings_normalized", with_column("embedding", AXIS), "must fall"),
    ("index_covers_normalized", "retrieval_index", without_first, "differ in"),
    ("index_finds_stored_tracks", "retrieval_index", with_value("embedding", AXIS), "do not find themselves"),
    ("index_finds_stored_tracks", "retrieval_index", with_rotated_ids, "do not find themselves"),
    ("index_covers_normalized", "retrieval_index", with_value("embedding", AXIS), "other vectors"),
    ("index_covers_normalized", "retrieval_index", with_rotated_ids, "differ in"),
    ("features_complete", "audio_features", with_column("content_sha256", "0"), "as their files are now"),
    ("published_tables_agree", "audio_features", with_column("tempo_bpm", 100.0), "audio_features differs"),
    ("exports_load", "audio_features", with_column("tempo_bpm", 100.0), "merge_audio_features.csv"),
    ("published_tables_agree", "retrieval_index", without_first, "retrieval_index differs"),
    ("exports_load", "retrieval_index", without_first, "clap_index.npz"),
    ("index_covers_library", "retrieval_index", without_first, "not in the index"),
    ("exports_load", "audio_features", without_first, "merge_audio_features.csv"),
    ("manifest_ids_unique", "track_manifest", with_twin, "occur twice"),
    ("manifest_tracks_available", "track_manifest", with_value("status", "missing"), "1 of 5 tracks"),
]


@pytest.mark.parametrize(("check_name", "table", "change", "says"), DAMAGE)
def test_damage_is_caught(
    finished: Workplace, damaged: Any, check_name: str, table: str, change: Callable[[Rows], Rows], says: str
) -> None:
    damaged(table, change)
    result = evaluate(finished, getattr(checks, check_name))
    assert not result.passed
    assert says in (result.description or "")


@pytest.mark.parametrize("value", [0.0, None])
def test_a_column_that_says_nothing_is_caught(
    finished: Workplace, damaged: Any, monkeypatch: pytest.MonkeyPatch, value: float | None
) -> None:
    """The original's beats_* columns were 0 in all tracks. Five tracks are too few to tell, so five count."""
    damaged("audio_features", with_column("beats_loudness_mean", value))
    assert evaluate(finished, checks.feature_columns_vary).passed
    monkeypatch.setattr(checks, "_TRACKS_FOR_CONSTANT", 5)
    result = evaluate(finished, checks.feature_columns_vary)
    assert not result.passed
    assert "beats_loudness_mean" in (result.description or "")


def test_an_index_with_another_mean_is_caught(finished: Workplace, damaged: Any) -> None:
    damaged("retrieval_index", lambda rows: rows, {"mean": json.dumps([0.001] * 512)})
    result = evaluate(finished, checks.index_mean_is_raw_mean)
    assert not result.passed
    assert "off the raw mean" in (result.description or "")


def test_the_originals_missing_keys_are_caught(finished: Workplace, damaged: Any) -> None:
    """A large library without Eb, Ab and Bb, as the original's flats-to-C defect left it."""
    names = [key for key in range(12) if key not in (3, 8, 10)]

    def change(rows: Rows) -> Rows:
        angles = [2 * np.pi * names[i % 9] / 12 for i in range(5)]
        return [{**r, "key_cos": np.cos(a), "key_sin": np.sin(a)} for r, a in zip(rows, angles, strict=True)]

    damaged("audio_features", change)
    few = evaluate(finished, checks.all_keys_possible)
    assert few.passed, "five tracks cannot be expected to have twelve keys"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_TRACKS_FOR_ALL_KEYS", 5)
        assert not evaluate(finished, checks.all_keys_possible).passed


def test_a_blocking_check_keeps_bad_vectors_from_the_index(
    finished: Workplace, tracks: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through Dagster: normalised vectors that are not of unit length never become an index."""
    record = Record(finished.data / "record")
    before = record.version_in_force()
    finished.add(list(tracks.values())[6])
    with monkeypatch.context() as patch:
        patch.setattr(
            "audio_assets.corpus.centring.centre_and_normalise",
            lambda raw, mean: ((raw - mean).astype(np.float32), np.ones(len(raw), bool)),
        )
        report = finished.run()
    assert "normalized_valid" in {check.check_name for check in report.failed_checks}, report
    assert record.version_in_force() == before
    with connect_live(record) as live:
        assert live.execute("SELECT count(*) FROM clap_embeddings_normalized").fetchone() == (5,)
    assert finished.sql("SELECT count(*) FROM clap_embeddings_normalized") == [(5,)]
    assert finished.run().succeeded, "the next run mends it"
    assert finished.sql("SELECT count(*) FROM retrieval_index") == [(6,)]


def test_a_spoilt_vector_stops_the_centring_and_is_mended_by_materialising_again(
    finished: Workplace, damaged: Any
) -> None:
    damaged("clap_embeddings", with_vector_entry(float("nan")))
    warehouse = Warehouse(data_dir=str(finished.data))
    settings = ClapModel(model_id=finished.model, offline=True).settings()
    in_force, files = warehouse.record.version_in_force(), set(finished.data.rglob("vectors.npy"))
    with pytest.raises(SpoiltCorpusError, match="1 tracks hold NaN"):
        normalise_corpus(warehouse.record, settings)
    assert warehouse.record.drafted_version() == warehouse.record.version_in_force() == in_force
    assert set(finished.data.rglob("vectors.npy")) == files
    assert not list(finished.data.rglob(".tmp-*"))
    assert finished.run().succeeded
    table = warehouse.record.read("clap_embeddings", BATCH)
    assert np.isfinite(vectors_of(table)).all()


@pytest.mark.parametrize(
    ("difference", "severity"), [(5e-6, dg.AssetCheckSeverity.WARN), (0.1, dg.AssetCheckSeverity.ERROR)]
)
def test_a_vector_that_is_not_repeated_warns_and_one_of_another_model_is_an_error(
    finished: Workplace, damaged: Any, difference: float, severity: dg.AssetCheckSeverity
) -> None:
    def turned(vector: list[float]) -> list[float]:
        """Turn a vector by so much that 1 - cosine is the difference."""
        unit = np.asarray(vector, np.float64)
        aside = np.eye(512)[0] - unit[0] * unit
        cosine = 1 - difference
        return (cosine * unit + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside)).tolist()

    damaged("clap_embeddings", lambda rows: [{**r, "embedding": turned(r["embedding"])} for r in rows])
    result = evaluate(finished, checks.embeddings_repeatable)
    assert (result.passed, result.severity) == (False, severity)
    assert result.metadata["largest_repeat_difference"].value == pytest.approx(difference, rel=0.05)


def test_a_track_that_cannot_be_read_again_is_no_difference(finished: Workplace, tmp_path: Path) -> None:
    moved = Workplace(tmp_path / "empty", finished.data, finished.model)
    moved.library.mkdir()
    result = evaluate(moved, checks.embeddings_repeatable)
    assert result.passed
    assert result.metadata["not_read_again"].value == 2


def test_hubs_are_caught_in_a_library_that_is_large_enough(finished: Workplace, damaged: Any) -> None:
    """Points around a few centres: the centres are among everybody's nearest."""
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((200, 512))
    even = spread / np.linalg.norm(spread, axis=1, keepdims=True)
    common = np.ones(512) / np.sqrt(512)
    near = np.where(np.arange(200)[:, None] < 5, 0.9, 0.3) * common + even
    crowded = near / np.linalg.norm(near, axis=1, keepdims=True)
    low = rng.standard_normal((200, 3)) @ np.eye(3, 512)
    plain = low / np.linalg.norm(low, axis=1, keepdims=True)

    def filled(vectors: np.ndarray) -> Callable[[Rows], Rows]:
        return lambda rows: [
            {**rows[0], "song_id": f"t{i}", "embedding": v.tolist()} for i, v in enumerate(vectors)
        ]

    damaged("retrieval_index", filled(plain))
    assert evaluate(finished, checks.index_without_hubs).passed
    damaged("retrieval_index", filled(crowded))
    result = evaluate(finished, checks.index_without_hubs)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["hubness_largest"].value > 150
    damaged("retrieval_index", lambda rows: rows[:90])
    assert evaluate(finished, checks.index_without_hubs).passed, "too few to tell"


def test_a_mean_that_moves_between_builds_is_noticed(finished: Workplace, damaged: Any) -> None:
    warehouse = Warehouse(data_dir=str(finished.data))
    settings = ClapModel(model_id=finished.model, offline=True).settings()
    damaged("retrieval_index", lambda rows: rows)  # so that it is put back
    index_corpus(warehouse.record, settings, None)
    info = index_info(warehouse.record)
    assert info is not None
    assert info.drift is not None
    assert info.drift.distance == pytest.approx(0, abs=1e-6)
    assert evaluate(finished, checks.index_mean_steady).passed

    raw = survey(raw_corpus(warehouse.record, settings.version)).sample  # of five tracks, all
    mean = raw.mean(axis=0, dtype=np.float64)
    spread = np.sqrt(np.square(raw - mean).sum(axis=1).mean())
    step = np.eye(512)[0]
    damaged("retrieval_index", lambda rows: rows * 200, {"mean": json.dumps((mean - spread * step).tolist())})
    damaged("clap_embeddings_normalized", lambda rows: rows * 200)
    index_corpus(warehouse.record, settings, None)
    result = evaluate(finished, checks.index_mean_steady)
    assert not result.passed
    assert result.metadata["mean_drift"].value == pytest.approx(1, rel=1e-4)


def test_an_index_of_another_model_is_not_compared(finished: Workplace, damaged: Any) -> None:
    warehouse = Warehouse(data_dir=str(finished.data))
    settings = ClapModel(model_id=finished.model, offline=True).settings()
    damaged("retrieval_index", lambda rows: rows, {"settings_version": "clap-other"})
    index_corpus(warehouse.record, settings, None)
    info = index_info(warehouse.record)
    assert info is not None
    assert info.drift is None
    assert evaluate(finished, checks.index_mean_steady).passed


def test_raw_vectors_are_read_once_for_all_checks_of_a_run(
    finished: Workplace, damaged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    monkeypatch.setattr(checks, "survey", lambda raw: reads.append(raw) or survey(raw))
    checks._read_raw.cache_clear()
    for check in (checks.normalized_complete, checks.centring_removes_cone, checks.index_mean_is_raw_mean):
        evaluate(finished, check)
    assert len(reads) == 1
    damaged("clap_embeddings", with_column("embedding", AXIS))
    assert not evaluate(finished, checks.index_mean_is_raw_mean).passed, "a changed record is read again"


def test_a_batch_that_ends_during_a_rebuild_does_not_fail_it(finished: Workplace, damaged: Any) -> None:
    """With many workers some batch always does, and nothing would ever be published."""
    record = Record(finished.data / "record")
    settings = ClapModel(model_id=finished.model, offline=True).settings()
    normalise_corpus(record, settings)
    index_corpus(record, settings, None)
    rows = record.read_all("clap_embeddings", ["song_id", "embedding"])
    ids = rows["song_id"].to_pylist()
    newcomer = min(ids)
    mean = vectors_of(rows)[[i != newcomer for i in ids]].mean(axis=0, dtype=np.float64)
    made = record.read("clap_embeddings_normalized")
    noted = tracks_digest(made.filter(pc.field("song_id") != newcomer))
    damaged(
        "clap_embeddings_normalized",
        lambda rows: [row for row in rows if row["song_id"] != newcomer],
        {TRACKS: noted},
    )
    damaged("retrieval_index", lambda rows: rows, {"mean": json.dumps(mean.tolist())})
    damaged("clap_embeddings", lambda rows: rows)
    complete = evaluate(finished, checks.normalized_complete)
    assert complete.passed, complete.description
    assert complete.metadata["changed_since"].value == 1
    told = evaluate(finished, checks.index_mean_is_raw_mean)
    assert told.passed, told.description
    damaged("retrieval_index", lambda rows: rows, {"mean": json.dumps((mean + 1e-5).tolist())})
    assert not evaluate(finished, checks.index_mean_is_raw_mean).passed, "of the same tracks as before"
    damaged("clap_embeddings_normalized", without_first)
    lost = evaluate(finished, checks.normalized_complete)
    assert not lost.passed
    assert "not those that it was made of" in (lost.description or "")


def test_a_track_that_changes_during_a_rebuild_does_not_fail_it(finished: Workplace, damaged: Any) -> None:
    damaged("clap_embeddings", with_value("content_sha256", "0" * 64))
    for check in (
        checks.normalized_complete,
        checks.index_mean_is_raw_mean,
        checks.index_finds_stored_tracks,
    ):
        result = evaluate(finished, check)
        assert result.passed, result.description
    for entry in (0.0, 0.05):
        damaged("retrieval_index", lambda rows: rows, {"mean": json.dumps([entry] * 512)})
        assert not evaluate(finished, checks.index_mean_is_raw_mean).passed, "no vector moves it so far"


def test_figures_are_on_the_index_too_where_the_ui_plots_them(finished: Workplace) -> None:
    with open_instance(finished.data) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("retrieval_index"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    for name in ("mean_prompt_cosine", "mean_signal_cosine"):
        assert isinstance(metadata[name], dg.FloatMetadataValue)


def test_only_rows_of_the_settings_in_force_are_repeated(finished: Workplace, damaged: Any) -> None:
    def of_another_model(rows: Rows) -> Rows:
        return [{**row, "settings_version": "clap-other"} for row in with_swapped_vectors(rows)]

    damaged("clap_embeddings", of_another_model)
    result = evaluate(finished, checks.embeddings_repeatable)
    assert result.passed
    assert result.metadata["repeated"].value == 0


def test_a_repetition_without_a_vector_is_a_failed_check_and_no_crash(
    finished: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_direction(_: np.ndarray) -> np.ndarray:
        raise TrackFailure(FailureCode.ZERO_NORM, "no direction")

    monkeypatch.setattr(checks, "pool_windows", no_direction)
    result = evaluate(finished, checks.embeddings_repeatable)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "there is no vector" in (result.description or "")
