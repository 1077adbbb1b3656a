"""Each asset check lets good tables pass and catches the damage that it is there for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Workplace

from audio_assets import checks
from audio_assets.corpus import SpoiltCorpusError, normalise_corpus, vectors_of
from audio_assets.warehouse import Record, connect_live
from resources.clap_model import ClapModel
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
    }
    wanted = {name: available[name] for name in check.required_resource_keys if name in available}
    if check.check_specs_by_output_name["result"].partitions_def is None:
        result = check(**wanted)
    else:
        result = check(dg.build_op_context(partition_key=BATCH), **wanted)
    assert isinstance(result, dg.AssetCheckResult)
    return result


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.check_key.name)
def test_good_tables_pass(finished: Workplace, check: Any) -> None:
    result = evaluate(finished, check)
    # The demo model is random and says so; that is the one thing to complain about here.
    assert result.passed == (check is not checks.clap_model_healthy), result.description


@pytest.fixture
def damaged(finished: Workplace) -> Any:
    """Change a table of the record by force, for the length of a test."""
    originals: dict[Path, bytes] = {}

    def damage(name: str, change: Callable[[Rows], Rows], metadata: dict[str, str] | None = None) -> None:
        batch = BATCH if name in ("audio_features", "clap_embeddings") else None
        path = Record(finished.data / "record").path(name, batch)
        originals.setdefault(path, path.read_bytes())
        table = pq.read_table(path, partitioning=None)
        kept = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()} | (metadata or {})
        rows = change(table.to_pylist())
        schema = table.schema.remove_metadata()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema).replace_schema_metadata(kept), path)

    yield damage
    for path, content in originals.items():
        path.write_bytes(content)


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
    ("features_complete", "audio_features", with_value("song_id", "stranger"), "not live: stranger"),
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
    ("raw_embeddings_spread", "clap_embeddings", with_column("embedding", AXIS), "lie close together"),
    ("normalized_valid", "clap_embeddings_normalized", with_vector_entry(float("nan")), "NaN"),
    ("normalized_valid", "clap_embeddings_normalized", with_value("embedding", [0.5] + [0.0] * 511), "off 1"),
    ("normalized_complete", "clap_embeddings_normalized", without_first, "differs from the embedded"),
    ("normalized_complete", "clap_embeddings_normalized", with_twin, "occur twice"),
    ("centring_removes_cone", "clap_embeddings_normalized", with_column("embedding", AXIS), "must fall"),
    ("index_covers_normalized", "retrieval_index", without_first, "differ in"),
    ("index_finds_stored_tracks", "retrieval_index", with_value("embedding", AXIS), "do not find themselves"),
    ("index_finds_stored_tracks", "retrieval_index", with_rotated_ids, "do not find themselves"),
    ("index_covers_normalized", "retrieval_index", with_rotated_ids, "other vectors"),
    ("features_complete", "audio_features", with_column("content_sha256", "0"), "as their files are now"),
    ("published_tables_agree", "audio_features", with_column("tempo_bpm", 100.0), "audio_features differs"),
    ("exports_load", "audio_features", with_column("tempo_bpm", 100.0), "merge_audio_features.csv"),
    ("published_tables_agree", "retrieval_index", without_first, "retrieval_index differs"),
    ("exports_load", "retrieval_index", without_first, "clap_index.npz"),
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
            "audio_assets.corpus.centre_and_normalise",
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
    with pytest.raises(SpoiltCorpusError, match="1 tracks hold NaN"):
        normalise_corpus(warehouse.record, warehouse.live_tracks(), settings)
    assert finished.run().succeeded
    table = warehouse.record.read("clap_embeddings", BATCH)
    assert np.isfinite(vectors_of(table)).all()
