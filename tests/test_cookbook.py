"""The worked queries of examples/sql: each finds what a person would look for with it."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from scipy.stats import spearmanr
from test_warehouse import fill

from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.library import Entry
from audio_assets.warehouse import Record, arrow_schema, ledger_to_table, publish

FOLDER = Path(__file__).parents[1] / "examples" / "sql"
Ask = Callable[[str], pd.DataFrame]


def ask_of(published: Path) -> Ask:
    def ask(name: str) -> pd.DataFrame:
        with duckdb.connect(str(published.resolve()), read_only=True) as connection:
            return connection.execute((FOLDER / f"{name}.sql").read_text(encoding="utf-8")).df()

    return ask


@pytest.fixture(scope="module")
def ask(demo: tuple[Path, str]) -> Ask:
    """Ask the demo's 24 tracks."""
    return ask_of(demo[0] / "warehouse.duckdb")


@pytest.fixture(scope="module")
def truth(demo: tuple[Path, str]) -> pd.DataFrame:
    """What the demo's tracks were made with, by path."""
    return pd.read_csv(demo[0] / "demo" / "truth.csv").set_index("relative_path")


@pytest.fixture(scope="module")
def ask_merge(merge_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Ask the real manifest and the real feature table, published as if their audio were here."""
    text = pyarrow.csv.ConvertOptions(column_types={"song_id": pa.string()})
    manifest = pyarrow.csv.read_csv(
        merge_data / "merge_preprocessed.csv",
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=text,
    )
    features = pyarrow.csv.read_csv(merge_data / "merge_audio_features.csv", convert_options=text)
    ledger = [
        Entry(i, path, "live", batch="batch-000001", file_path=path.split("/audio/")[1], content_sha256=i)
        for i, path in zip(manifest["song_id"].to_pylist(), manifest["audio_path"].to_pylist(), strict=True)
    ]
    folder = tmp_path_factory.mktemp("merge")
    record = Record(folder / "record")
    record.write("track_manifest", ledger_to_table(ledger, manifest))
    made = {"extractor_version": EXTRACTOR_VERSION}
    rows = [{**row, **made, "content_sha256": row["song_id"]} for row in features.to_pylist()]
    table = pa.Table.from_pylist(rows, schema=arrow_schema("audio_features"))
    record.write("audio_features", table, batch="batch-000001")
    return ask_of(publish(record, folder).path)


def test_every_query_is_tested_here() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in FOLDER.glob("*.sql") if f'"{path.stem}' not in tests] == []


def test_the_overview_counts_every_track_once(ask: Ask) -> None:
    found = ask("01_library_overview")
    assert found["n_tracks"].sum() == 24
    assert set(found["status"]) == {"live"}
    assert found["codec"].nunique() > 2


def test_failures_are_counted_by_reason(ask: Ask, tmp_path: Path) -> None:
    assert ask("02_failures").empty, "all tracks of the demo can be analysed"
    record = Record(tmp_path / "record")
    failed = {"failure_code": "silent", "failure_message": "nothing to hear"}
    fill(record, ["a", "b"], **failed, computed_at=dt.datetime.now(dt.UTC))
    found = ask_of(publish(record, tmp_path).path)("02_failures")
    assert found[["stage", "code", "n_tracks", "example_message"]].to_numpy().tolist() == [
        ["features", "silent", 2, "nothing to hear"]
    ]


def test_slow_tracks_come_before_fast_ones(ask: Ask) -> None:
    found = ask("03_slowest_and_fastest")
    assert len(found) == 20
    assert found["tempo_bpm"].is_monotonic_increasing
    assert list(found["pace"]) == ["slow"] * 10 + ["fast"] * 10


def test_keys_are_those_that_the_tracks_were_made_in(ask: Ask, truth: pd.DataFrame) -> None:
    found = ask("04_keys").set_index("key")["n_tracks"]
    made = (truth["key_tonic"] + " " + truth["key_mode"]).value_counts()
    assert found.to_dict() == made.to_dict()


def test_similar_tracks_are_of_the_same_instrument(ask: Ask, truth: pd.DataFrame) -> None:
    found = ask("05_similar_tracks")
    assert len(found) == 11
    assert found["score"].iloc[0] == 1
    instruments = truth["instrument"][found["audio_path"]].to_numpy()
    assert list(instruments[1:3]) == [instruments[0]] * 2


def test_similar_tracks_of_about_its_tempo(ask: Ask) -> None:
    found = ask("06_similar_tracks_in_plain_sql")
    assert len(found) >= 1
    assert (found["tempo_bpm"] / found["query_tempo_bpm"] - 1).abs().max() <= 0.0801
    assert found["score"].is_monotonic_decreasing


def test_a_copied_file_is_a_near_duplicate(tmp_path: Path) -> None:
    record = Record(tmp_path / "record")
    fill(record, ["a", "b"])
    index = [{"song_id": i, "content_sha256": f"hash of {i}", "embedding": [1.0] + [0.0] * 511} for i in "ab"]
    version = record.new_version()
    for table in ("clap_embeddings_normalized", "retrieval_index"):
        rows = pa.Table.from_pylist(index, schema=arrow_schema(table))
        record.write(table, rows, version=version)
    found = ask_of(publish(record, tmp_path).path)("07_near_duplicates")
    assert found[["song_id", "other_song_id", "score"]].to_numpy().tolist() == [["a", "b", 1.0]]
    assert not found["same_bytes"].any()


def test_outliers_are_those_farthest_from_the_median(ask: Ask) -> None:
    found = ask("08_outliers")
    away = (found["value"] - found["median"]).abs()
    assert away.is_monotonic_decreasing
    assert np.sign(found["robust_z"]).equals(np.sign(found["value"] - found["median"]))


def test_the_last_row_of_the_coverage_is_the_library(ask: Ask) -> None:
    whole = ask("09_coverage").iloc[-1]
    assert pd.isna(whole["batch"])
    assert whole[["n_live", "n_features", "n_embeddings", "features_percent"]].tolist() == [24, 24, 24, 100]


def test_genres_of_the_tags_and_the_library_as_a_whole(ask: Ask, truth: pd.DataFrame) -> None:
    found = ask("10_features_by_genre")
    assert found["n_tracks"].iloc[0] == 24
    folk = found[found["genre"] == "folk"]["n_tracks"].item()
    assert folk == truth.index.str.startswith("folk/").sum()


def test_a_playlist_stays_near_in_tempo_and_on_the_wheel(ask_merge: Ask) -> None:
    found = ask_merge("11_playlist_by_tempo_and_key")
    assert found["track_name"].iloc[0] == "Country Comfort"
    assert found["tempo_change_percent"].abs().max() <= 8
    assert found["key"].iloc[0] == "C major"
    assert set(found["key"]) <= {"C major", "G major", "F major", "A minor"}
    assert len(found) == 30


def test_quadrants_and_genres_are_those_of_the_real_manifest(ask_merge: Ask, merge_data: Path) -> None:
    found = ask_merge("12_genres_by_quadrant")
    real = pd.read_csv(merge_data / "merge_preprocessed.csv")
    whole = found[found["genre"].isna()].set_index("quadrant")["n_tracks"]
    assert whole.to_dict() == real["quadrant"].value_counts().to_dict()
    jazz = real[real["genre"].str.split(",").map(lambda genres: "Jazz" in map(str.strip, genres))]
    shown = found[found["genre"] == "Jazz"].set_index("quadrant")["n_tracks"]
    assert shown.to_dict() == jazz["quadrant"].value_counts().to_dict()


def test_correlations_with_emotion_are_spearmans(ask_merge: Ask, merge_data: Path) -> None:
    found = ask_merge("13_features_and_emotion").set_index("feature")
    known = pd.read_csv(merge_data / "merge_preprocessed.csv", dtype={"song_id": str})
    merged = known.merge(pd.read_csv(merge_data / "merge_audio_features.csv", dtype={"song_id": str}))
    for feature in (found.index[0], found.index[-1], "tempo_bpm"):
        for emotion in ("arousal", "valence"):
            expected = spearmanr(merged[feature], merged[emotion]).statistic
            assert found[f"{emotion}_correlation"][feature] == pytest.approx(expected, abs=6e-4)
    assert "beats_loudness_mean" not in found.index, "it is 0 throughout in the real table"
    assert len(found) == 51


def test_drift_says_what_moved_and_which_tracks_came_and_went(tmp_path: Path) -> None:
    record = Record(tmp_path / "record")
    fill(record, ["a", "b"], tempo_bpm=100.0, onset_strength_mean=1.0)
    older = publish(record, tmp_path)
    fill(record, ["b", "c"], tempo_bpm=110.0, onset_strength_mean=1.0)
    newer = publish(record, tmp_path)
    query = (FOLDER / "14_drift_between_versions.sql").read_text(encoding="utf-8")
    assert "data/warehouse-OLDER.duckdb" in query
    with duckdb.connect(str(newer.path), read_only=True) as connection:
        found = connection.execute(query.replace("data/warehouse-OLDER.duckdb", str(older.path))).df()
    rows = found.set_index("what")[["n_tracks", "example_song_id"]].to_dict("index")
    assert rows == {
        "tempo_bpm": {"n_tracks": 1, "example_song_id": "b"},
        "new track": {"n_tracks": 1, "example_song_id": "c"},
        "gone track": {"n_tracks": 1, "example_song_id": "a"},
    }
    assert found.set_index("what")["mean_change"]["tempo_bpm"] == 10


def test_a_loner_is_the_track_whose_nearest_is_farthest(ask: Ask) -> None:
    found = ask("15_loners")
    assert found["score"].is_monotonic_increasing
    assert found["score"].iloc[0] < 0.8 < found["score"].max()
    assert (found["song_id"] != found["nearest_song_id"]).all()


def test_tempo_ranges_add_up_to_the_library(ask: Ask) -> None:
    found = ask("16_tempo_histogram")
    assert found["n_tracks"].sum() == 24
    assert found["tempo_range_bpm"].is_monotonic_increasing
    assert found["tracks"].str.rstrip().str.len().max() == 30
