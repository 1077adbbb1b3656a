"""The published tables in Python and the commands over them: what is found, and what is refused."""

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from synthetic_collection import publish_collection
from typer.testing import CliRunner, Result

from audio_assets import NotPublishedError, PublishedWarehouse, SearchRefusedError, open_warehouse
from audio_assets.cli import app
from audio_assets.features import FEATURES
from audio_assets.retrieval import QueryError

Demo = tuple[Path, str]


@pytest.fixture(scope="module")
def warehouse(demo: Demo) -> Iterator[PublishedWarehouse[pd.DataFrame]]:
    with open_warehouse(demo[0]) as opened:
        yield opened


def command(demo: Demo, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--data", str(demo[0])])


def test_tables_come_as_pandas_or_as_arrow(demo: Demo, warehouse: PublishedWarehouse[pd.DataFrame]) -> None:
    features = warehouse.features()
    assert list(features.columns) == ["song_id", *(feature.name for feature in FEATURES)]
    assert len(features) == 24
    with open_warehouse(demo[0], as_arrow=True) as arrow:
        assert arrow.features().to_pandas().equals(features)
        assert str(arrow.embeddings().schema.field("embedding").type) == "fixed_size_list<: float>[512]"


def test_embeddings_are_those_of_the_exported_files(
    demo: Demo, warehouse: PublishedWarehouse[pd.DataFrame]
) -> None:
    for normalized, name in ((False, "clap_embeddings"), (True, "clap_embeddings_normalized")):
        frame = warehouse.embeddings(normalized=normalized)
        with np.load(demo[0] / "exports" / "embeddings" / f"{name}.npz", allow_pickle=False) as file:
            order = np.argsort(file["track_ids"])
            assert frame["song_id"].tolist() == file["track_ids"][order].tolist()
            assert np.array_equal(np.stack(frame["embedding"]), file["embeddings"][order])


def test_tracks_can_be_chosen(warehouse: PublishedWarehouse[pd.DataFrame]) -> None:
    assert len(warehouse.tracks()) == 24
    chosen = warehouse.tracks("genre = 'folk' AND key LIKE '%major'")
    assert 0 < len(chosen) < 24
    assert set(chosen["genre"]) == {"folk"}
    by_hand = warehouse.sql("SELECT song_id FROM tracks WHERE tempo_bpm > ? ORDER BY song_id", [120])
    assert by_hand["song_id"].tolist() == warehouse.tracks("tempo_bpm > 120")["song_id"].tolist()


def test_each_track_finds_itself_first_at_one(warehouse: PublishedWarehouse[pd.DataFrame]) -> None:
    raw = warehouse.embeddings()
    for song_id, vector in zip(raw["song_id"], raw["embedding"], strict=True):
        for found in (warehouse.similar(song_id, 2), warehouse.nearest(vector, 2)):
            assert found["song_id"].iloc[0] == song_id
            assert found["score"].iloc[0] == pytest.approx(1, abs=1e-6)


def test_python_the_command_and_the_macro_agree(
    demo: Demo, warehouse: PublishedWarehouse[pd.DataFrame]
) -> None:
    song_id = warehouse.tracks()["song_id"].iloc[3]
    by_macro = warehouse.sql("FROM similar_tracks(?, 5)", [song_id])
    in_python = warehouse.similar(song_id, 5)
    by_command = json.loads(command(demo, "similar", song_id, "-k", 5, "--format", "json").stdout)
    assert in_python["song_id"].tolist() == by_macro["song_id"].tolist()
    assert in_python["score"].tolist() == pytest.approx(by_macro["score"].tolist(), abs=1e-6)
    assert [row["song_id"] for row in by_command] == by_macro["song_id"].tolist()


@pytest.mark.parametrize("k", [1, 4, 9])
def test_a_filtered_search_finds_as_many_as_there_are(
    warehouse: PublishedWarehouse[pd.DataFrame], k: int
) -> None:
    song_id = warehouse.tracks("genre <> 'ambient'")["song_id"].iloc[0]
    ambient = warehouse.tracks("genre = 'ambient'")["song_id"]
    found = warehouse.similar(song_id, k, where="genre = 'ambient'")
    assert len(found) == min(k, len(ambient))
    assert set(found["song_id"]) <= set(ambient)
    everything = warehouse.similar(song_id, 24)
    best = everything[everything["song_id"].isin(ambient)][: len(found)]
    assert found["song_id"].tolist() == best["song_id"].tolist()
    assert warehouse.similar(song_id, 3, where="false").empty


def test_a_path_names_a_track_as_its_id_does(demo: Demo, warehouse: PublishedWarehouse[pd.DataFrame]) -> None:
    track = warehouse.tracks().iloc[5]
    absolute = demo[0] / "demo" / "audio" / track["file_path"]
    for name in (track["file_path"], str(absolute)):
        assert warehouse.similar(name, 1)["song_id"].tolist() == [track["song_id"]]


def test_another_file_of_the_same_name_is_not_the_track(
    warehouse: PublishedWarehouse[pd.DataFrame], tmp_path: Path
) -> None:
    other = tmp_path / "folk" / "the_miller.flac"
    for make in (other.parent.mkdir, lambda: other.write_bytes(b"another")):
        make()
        with pytest.raises(SearchRefusedError, match="no track has"):
            warehouse.similar(str(other), 1)


def test_a_file_of_the_library_finds_its_own_track(demo: Demo) -> None:
    file = demo[0] / "demo" / "audio" / "folk" / "the_miller.flac"
    done = command(demo, "search", "--audio", file, "-k", 2, "--format", "csv")
    assert done.exit_code == 0, done.stderr
    best = next(csv.DictReader(io.StringIO(done.stdout)))
    assert best["audio_path"] == "folk/the_miller.flac"
    assert float(best["score"]) == pytest.approx(1, abs=1e-6)


def test_a_text_is_searched_with_the_indexs_own_model(demo: Demo) -> None:
    done = command(demo, "search", "--text", "organ", "-k", 3, "--where", "tempo_bpm > 0", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert [row["rank"] for row in json.loads(done.stdout)] == [1, 2, 3]
    assert "was trained on synthesised music" in done.stderr


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("no_such_column > 1", "no_such_column"),
        ("tempo_bpm >", "syntax error"),
        ("true; DROP TABLE manifest", "Parser Error"),
        ("true) UNION SELECT song_id FROM manifest --", "syntax error"),
        ("song_id IN (SELECT content FROM read_text('/etc/hostname'))", "disabled by configuration"),
        ("song_id IN (FROM '/etc/hostname')", "does not exist"),
        ("song_id IN (FROM glob('/*'))", "disabled by configuration"),
        ("track_name::INTEGER > 1", "Conversion Error"),
        ("", "Parser Error"),
    ],
)
def test_a_condition_that_is_none_or_reaches_out_is_refused(
    warehouse: PublishedWarehouse[pd.DataFrame], where: str, says: str
) -> None:
    with pytest.raises(SearchRefusedError, match=f"^the condition cannot be used: [^\n]*{says}"):
        warehouse.similar("folk/the_miller.flac", 3, where=where)


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{}/out.csv'",
        "EXPORT DATABASE '{}/out'",
        "ATTACH '{}/other.duckdb'",
        "SET enable_external_access = true",
        "DELETE FROM manifest",
        "CREATE TABLE here AS SELECT 1",
        "INSTALL httpfs",
    ],
)
def test_nothing_is_written_through_it(
    warehouse: PublishedWarehouse[pd.DataFrame], tmp_path: Path, query: str
) -> None:
    with pytest.raises(duckdb.Error):
        warehouse.sql(query.format(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("similar", "no-such-track"), 1, "no track has 'no-such-track' as its song_id or path"),
        (("similar", "folk/the_miller.flac", "--where", "x = 1"), 1, "the condition cannot be used"),
        (("similar", "folk/the_miller.flac", "-k", "0"), 2, "-k"),
        (("search", "--text", "  "), 1, "the text is blank"),
        (("search",), 2, "one of them is needed"),
        (("search", "--text", "organ", "--audio", "x.wav"), 2, "not both"),
        (("search", "--audio", "/no/such/file.wav"), 1, "there is no file /no/such/file.wav"),
        (("search", "--audio", __file__), 1, "cannot be searched with: "),
        (("search", "--text", "organ", "--clap-model", "./no-such-folder"), 2, "there is no folder"),
        (("search", "--text", "organ", "--clap-model", "laion/larger_clap_music"), 1, "model pull"),
    ],
)
def test_what_cannot_be_found_is_said_in_a_sentence(
    demo: Demo, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = command(demo, *arguments)
    assert done.exit_code == code, done.output
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_vector_without_a_direction_is_refused(
    warehouse: PublishedWarehouse[pd.DataFrame], value: float
) -> None:
    with pytest.raises(QueryError):
        warehouse.nearest(np.full(512, value))


def test_other_windows_than_the_indexs_are_refused(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIO_ASSETS_CLAP_WINDOWS", "2")
    with (
        open_warehouse(demo[0]) as warehouse,
        pytest.raises(SearchRefusedError, match="AUDIO_ASSETS_CLAP_WINDOWS"),
    ):
        warehouse.search_audio(demo[0] / "demo" / "audio" / "folk" / "the_miller.flac")


def test_a_copy_of_the_file_alone_answers_alike(
    demo: Demo, warehouse: PublishedWarehouse[pd.DataFrame], tmp_path: Path
) -> None:
    copy = tmp_path / "sent.duckdb"
    copy.write_bytes((demo[0] / "warehouse.duckdb").read_bytes())
    song_id = warehouse.tracks()["song_id"].iloc[0]
    with open_warehouse(copy) as sent:
        found = sent.similar(song_id, 24)
    expected = warehouse.similar(song_id, 24)
    assert found["song_id"].tolist() == expected["song_id"].tolist()
    assert found["score"].tolist() == pytest.approx(expected["score"].tolist(), abs=1e-6)


def test_a_copy_beside_another_record_answers_from_its_own_vectors(demo: Demo, tmp_path: Path) -> None:
    """Every record counts its versions from one, so that those of two libraries are called alike."""
    publish_collection(tmp_path / "data", 12)
    shutil.copyfile(demo[0] / "warehouse.duckdb", tmp_path / "data" / "sent.duckdb")
    with open_warehouse(tmp_path / "data" / "sent.duckdb") as sent:
        song_id = sent.tracks()["song_id"].iloc[0]
        assert sent.similar(song_id, 1)["song_id"].tolist() == [song_id]


def test_where_there_is_nothing_to_open_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotPublishedError, match="audio-assets run"):
        open_warehouse(tmp_path)
    old = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(old)) as connection:
        connection.execute("CREATE TABLE manifest (song_id VARCHAR)")
    with pytest.raises(NotPublishedError, match="no view tracks"):
        open_warehouse(old)
    old.write_bytes(old.read_bytes()[:20_000])
    with pytest.raises(NotPublishedError, match="cannot be read"):
        open_warehouse(old)


def test_importing_the_package_stays_light() -> None:
    code = "import sys, audio_assets; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "pandas", "duckdb", "pyarrow", "dagster"} & set(loaded.split())
