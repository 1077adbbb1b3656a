"""What stands on the tables, at both doors: the view of tracks, the macros, and what is said of them."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from test_warehouse import outcome_rows
from typer.testing import CliRunner

from audio_assets.cli import app
from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.library import Entry
from audio_assets.warehouse import (
    MACROS,
    PUBLISHED,
    VIEWS,
    Record,
    arrow_schema,
    connect_live,
    connect_published,
    ledger_to_table,
    publish,
)

NOTES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
#: As printed on every wheel: the major keys from 1B, and their relative minors from 1A.
WHEEL_MAJOR = ["B", "F#", "C#", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E"]
WHEEL_MINOR = ["Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#"]

Door = duckdb.DuckDBPyConnection


@pytest.fixture(scope="module", params=["published", "live"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Three tracks: one with all, one without features, one that is not there; vectors of two."""
    folder = tmp_path_factory.mktemp("door")
    record = Record(folder / "record")
    ledger = [
        Entry(
            i,
            f"x/{i}.wav",
            status,
            batch="batch-000001",
            file_path=f"x/{i}.wav",
            content_sha256=f"hash of {i}",
        )
        for i, status in (("a", "live"), ("b", "live"), ("c", "missing"))
    ]
    carried = pa.table(
        {
            "song_id": ["a", "b", "c"],
            "audio_path": ["a", "b", "c"],
            "Title": ["Song", "  ", "Gone"],
            "Tempo_BPM": ["fast", "slow", "?"],
            "key": [1, 2, 3],
        }
    )
    record.write("track_manifest", ledger_to_table(ledger, carried))
    key = {"key_cos": 0.0, "key_sin": 1.0, "is_minor": 1.0}  # three semitones above C
    rows = outcome_rows("audio_features", ["a"], extractor_version=EXTRACTOR_VERSION, tempo_bpm=120.0, **key)
    record.write("audio_features", rows, batch="batch-000001")
    vectors = np.zeros((2, 512))
    vectors[0, 0], vectors[1, 1] = 1, 1
    index = [
        {"song_id": i, "content_sha256": f"hash of {i}", "embedding": vector}
        for i, vector in zip("ab", vectors.tolist(), strict=True)
    ]
    mean = [0.5, 0.25] + [0.125] * 510
    metadata = {"mean": str(mean), "settings_version": "v"}
    version = record.new_version()
    for table in ("clap_embeddings_normalized", "retrieval_index"):
        rows = pa.Table.from_pylist(index, schema=arrow_schema(table))
        record.write(table, rows, version=version, metadata=metadata)
    published = publish(record, folder)
    with connect_live(record) if request.param == "live" else connect_published(published.path) as connection:
        yield connection


def one(door: Door, expression: str, *values: object) -> object:
    return door.execute(f"SELECT {expression}", list(values)).fetchall()[0][0]


@pytest.mark.parametrize("minor", [0, 1])
def test_names_and_camelot_codes_of_all_keys(door: Door, minor: int) -> None:
    wheel, letter, mode = (WHEEL_MINOR, "A", "minor") if minor else (WHEEL_MAJOR, "B", "major")
    for number, note in enumerate(wheel, start=1):
        angle = 2 * np.pi * NOTES.index(note) / 12
        values = float(np.cos(angle)), float(np.sin(angle)), minor
        assert one(door, "camelot(?, ?, ?)", *values) == f"{number}{letter}"
        assert one(door, "key_name(?, ?, ?)", *values) == f"{note} {mode}"


@pytest.mark.parametrize(
    "values", [(None, None, None), (1, 0, None), (None, 1, 1), (0, 0, 1), (float("nan"), 1, 1)]
)
def test_where_there_is_no_key_none_is_named(door: Door, values: tuple[object, ...]) -> None:
    for macro in ("key_name", "camelot"):
        assert one(door, f"{macro}(?::DOUBLE, ?::DOUBLE, ?::DOUBLE)", *values) is None


def test_neighbours_on_the_wheel_go_round(door: Door) -> None:
    assert one(door, "camelot_neighbours('12A')") == ["12A", "11A", "1A", "12B"]
    assert one(door, "camelot_neighbours('1B')") == ["1B", "12B", "2B", "1A"]
    assert one(door, "camelot_neighbours(NULL)") is None


def test_tempo_ranges_sort_as_text(door: Door) -> None:
    expected = {59.9: "040-060", 60: "060-080", 99.99: "080-100", 120.0: "120-140"}
    assert {bpm: one(door, "tempo_bucket(?)", bpm) for bpm in expected} == expected
    assert one(door, "tempo_bucket(95.2, 5)") == "095-100"
    assert one(door, "tempo_bucket(NULL)") is None
    assert one(door, "tempo_bucket('nan'::DOUBLE)") is None
    for width in (0, 2.5):
        with pytest.raises(duckdb.Error, match="whole number of BPM above 0"):
            one(door, "tempo_bucket(100, ?)", width)


def test_tracks_are_those_that_are_there_with_null_where_nothing_is_known(
    door: Door,
) -> None:
    query = "SELECT song_id, track_name, artist, key, camelot, tempo_bpm, file_path FROM tracks ORDER BY 1"
    assert door.execute(query).fetchall() == [
        ("a", "Song", None, "Eb minor", "2A", 120.0, "x/a.wav"),
        ("b", "b.wav", None, None, None, None, "x/b.wav"),
    ]


def test_a_users_column_with_a_features_name_is_kept_beside_it(door: Door) -> None:
    rows = door.execute('SELECT tempo_bpm, "Tempo_BPM_1", key, key_1 FROM tracks ORDER BY song_id').fetchall()
    assert rows == [(120.0, "fast", "Eb minor", 1), (None, "slow", None, 2)]


def test_an_unknown_track_is_an_error_and_not_an_empty_answer(door: Door) -> None:
    assert door.execute("FROM similar_tracks('a', 2)").fetchall() == [("a", 1.0), ("b", 0.0)]
    for unknown in ("'c'", "'it''s not there'"):
        with pytest.raises(duckdb.Error, match=r"no track .* in retrieval_index"):
            door.execute(f"FROM similar_tracks({unknown}, 2)").fetchall()


def test_nearest_centres_with_the_stored_mean_and_normalises(door: Door) -> None:
    mean = np.array([0.5, 0.25] + [0.125] * 510)
    query = np.random.default_rng(0).standard_normal(512)
    centred = (query - mean) / np.linalg.norm(query - mean)
    expected = sorted(zip(centred[:2], "ab", strict=True), reverse=True)
    found = door.execute("FROM nearest(?, 2)", [query.tolist()]).fetchall()
    assert [song_id for song_id, _ in found] == [song_id for _, song_id in expected]
    assert [score for _, score in found] == pytest.approx([score for score, _ in expected], abs=1e-6)


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        ([0.0] * 512, "no direction"),
        ([float("nan")] * 512, "no direction"),
        ([float("inf")] * 512, "no direction"),
        ([0.5, 0.25] + [0.125] * 510, "the mean itself"),
        (None, "NULL"),
        ([None] + [1.0] * 511, "NULL"),
        ([1.0], "length"),
    ],
)
def test_nearest_refuses_what_points_nowhere(door: Door, vector: object, says: str) -> None:
    with pytest.raises(duckdb.Error, match=says):
        door.execute("FROM nearest(?, 2)", [vector]).fetchall()


def test_everything_that_stands_on_the_tables_has_a_comment(door: Door) -> None:
    said = dict(
        door.execute("SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal").fetchall()
    )
    assert said == {macro.name: f"{macro.signature}: {macro.description}" for macro in MACROS}
    comments = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'tracks'"
    said = dict(door.execute(f"{comments} AND comment IS NOT NULL").fetchall())
    assert said == {column.name: column.comment for column in VIEWS["tracks"][1]}
    given = {row[0] for row in door.execute("DESCRIBE tracks").fetchall()}
    assert given - set(said) == {"Tempo_BPM_1", "key_1"}
    ((comment,),) = door.execute("SELECT comment FROM duckdb_views() WHERE view_name = 'tracks'").fetchall()
    assert comment == VIEWS["tracks"][0]


def test_both_doors_can_be_asked_before_anything_is_computed(tmp_path: Path) -> None:
    record = Record(tmp_path / "record")
    record.initialise()
    published = publish(record, tmp_path)
    for connection in (connect_live(record), connect_published(published.path)):
        with connection:
            assert connection.execute("FROM tracks").fetchall() == []
            with pytest.raises(duckdb.Error, match="nothing is indexed"):
                connection.execute("FROM nearest(?, 3)", [[1.0] * 512]).fetchall()


def test_help_lists_tables_and_macros_without_a_data_folder() -> None:
    printed = CliRunner().invoke(app, ["sql", "--help"], env={"AUDIO_ASSETS_DATA": "/nowhere"}).output
    for name in (*PUBLISHED, *VIEWS, *(macro.signature for macro in MACROS)):
        assert f"  {name}" in printed
