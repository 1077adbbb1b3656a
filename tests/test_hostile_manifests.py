"""Whatever a manifest or a recipe holds ends in its tracks or in a sentence, and never in fewer tracks."""

import csv
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from commands import cli
from conftest import Workplace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_assets.library import ManifestError, discover, list_library, locate, read_source
from tools.fuzz.properties import confinement_holds, key_holds, manifest_holds
from tools.hostile.run import remove

#: The library of the properties: made once, and only read.
quickly = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
SPICED = st.one_of(
    TEXT,
    st.sampled_from(
        ['"', '"x"', "=1+1", "-", "\r", "\n", ",", "007", "1e5", "'; DROP TABLE manifest;--", "٣"]
    ),
)


def read(folder: Path, data: bytes | str, name: str = "m.csv") -> dict[str, list[object]]:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    columns: dict[str, list[object]] = read_source(folder, path).tracks.to_pydict()
    return columns


def refusal(folder: Path, data: bytes | str, name: str = "m.csv") -> str:
    with pytest.raises(ManifestError) as refused:
        read(folder, data, name)
    return str(refused.value)


HEAD = "song_id,audio_path"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (f'{HEAD}\na,"x.mp3\nb,y.mp3\n', "line 3"),  # b would be part of a's path
        (f'{HEAD}\na,x.mp3\nb,"y"z.mp3\nc,z.mp3\n', "line 3"),
        (f"{HEAD}\na,x\0.mp3\n", "NUL in line 2"),
        (f"{HEAD}\na,x.mp3\nb,y.mp3,z\n", "line 3: 3 cells"),
        (f"{HEAD}\na," + "x" * 200_000 + "\n", "line 2: field larger"),
        (f"{HEAD}\na,x.mp3\n".encode("utf-16"), "UTF-8"),
        (f"{HEAD}\na,x.mp3\n".encode("utf-16-le"), "UTF-16"),
        (f"{HEAD},Größe\na,x.mp3,1\n".encode("cp1252"), "UTF-8"),
        (f"{HEAD}\n\u00a0,x.mp3\n", "blank in data rows 1"),
        (f"{HEAD}\nA,x.mp3\na,x.mp3\nA,y.mp3\n", "not unique: A"),
        (f"{HEAD},STRASSE,straße\na,x,1,2\n", "names a column twice"),
    ],
)
def test_what_would_lose_tracks_is_refused_where_it_stands(
    tmp_path: Path, data: bytes | str, says: str
) -> None:
    assert says in refusal(tmp_path, data)


def test_text_stays_text_and_numbers_keep_their_digits(tmp_path: Path) -> None:
    """Digits of other scripts ended in an error of Arrow's; ids of twenty digits were rounded."""
    data = (
        f"\ufeff{HEAD},arabic,wide,long,zeros,hex,real\n1e5,a,١٢,\uff11,12345678901234567891,007,0x10,1.50\n"
    )
    tracks = read(tmp_path, data)
    assert tracks["song_id"] == ["1e5"]
    assert (tracks["arabic"], tracks["wide"], tracks["zeros"], tracks["hex"]) == (
        ["١٢"],
        ["\uff11"],
        ["007"],
        ["0x10"],
    )
    assert tracks["long"] == ["12345678901234567891"]
    assert tracks["real"] == [1.5]


TABLE = '[metadata]\npath = "t.csv"\n'


@pytest.mark.parametrize(
    "recipe",
    [
        b"\xff" + TABLE.encode(),
        TABLE + 'rename = ["a"]\n',
        TABLE + 'rename = {genre = "song_id"}\n',
        TABLE + '[[drop_all_in]]\ncolumn = "genre"\nvalues = ["a"]\nseparator = ""\n',
        TABLE + '[[join]]\npath = "t.csv"\non = "song_id"\n',
        "audio_path = 5\n" + TABLE,
        'audio_path = "{"\n' + TABLE,
        'audio_path = "{0}"\n' + TABLE,
        'audio_path = "{song_id}.mp3"\n' + TABLE,  # which it has already
        "join = 5\n" + TABLE,
        "metadata = 5\n",
        "a = " + "[" * 5_000,
        '[metadata]\npath = "a\\u0000b"\n',
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, recipe: bytes | str) -> None:
    (tmp_path / "t.csv").write_text(f"{HEAD},genre\na,x.mp3,rock\n")
    assert refusal(tmp_path, recipe, "recipe.toml")
    list_library(tmp_path, tmp_path / "recipe.toml", 0, 0)  # as the sensor does, before anything is refused


@quickly
@given(rows=st.lists(st.tuples(SPICED, SPICED, SPICED), max_size=8))
def test_a_well_formed_manifest_is_read_to_the_letter(
    tmp_path: Path, rows: list[tuple[str, str, str]]
) -> None:
    ids = [row[0] for row in rows]
    file = io.StringIO()
    csv.writer(file).writerows([("song_id", "audio_path", "title"), *rows])
    if len(set(ids)) < len(ids) or not all(song_id.strip() for song_id in ids):
        assert refusal(tmp_path, file.getvalue())
        return
    tracks = read(tmp_path, file.getvalue())
    assert tracks["song_id"] == ids
    assert tracks["audio_path"] == [row[1] for row in rows]


@quickly
@given(data=st.one_of(st.binary(max_size=300), SPICED.map(lambda text: f"{HEAD}\na,b\n{text}".encode())))
def test_any_bytes_are_a_manifest_or_refused(tmp_path: Path, data: bytes) -> None:
    manifest_holds(tmp_path, data)


PARTS = st.sampled_from(
    ["..", ".", "", "Q4", "a.mp3", "C:", "\\", "out.mp3", "http:", " ", "\udcff", "\0", "x" * 300]
)


@pytest.fixture(scope="module")
def confined() -> Iterator[Path]:
    from tools.fuzz.properties import confined_library

    with tempfile.TemporaryDirectory() as folder:
        yield confined_library(Path(folder))


@quickly
@given(
    path=st.one_of(
        TEXT, st.lists(PARTS, max_size=8).map("/".join), st.lists(PARTS, max_size=8).map("\\".join)
    )
)
def test_no_path_leads_out(confined: Path, path: str) -> None:
    confinement_holds(confined, path)


@quickly
@given(
    key=st.one_of(
        TEXT, st.from_regex(r"batch-\d+\n?"), st.sampled_from(["..", "a/b", "a,b", "a...b", "batch-1"])
    )
)
def test_a_partition_key_is_a_plain_folder_name(tmp_path: Path, key: str) -> None:
    key_holds(tmp_path, key)


def test_names_of_this_computer_are_taken_literally(tmp_path: Path) -> None:
    """A backslash or a colon in a name made it a Windows path, of another track or of none."""
    (tmp_path / "Q4").mkdir()
    for name in ("Q4/A002.wav", "Q4\\A002.wav", "C:.wav", "C:\\song.wav", "a\\udcff.wav"):
        (tmp_path / name).write_bytes(b"x")
        assert locate(tmp_path, name).as_posix() == name


def test_folders_a_thousand_deep_are_walked(tmp_path: Path) -> None:
    root = tmp_path / "music"
    root.mkdir()
    folder = root
    try:
        for _ in range(1_100):
            folder /= "d"
            folder.mkdir()
        (folder / "deep.wav").write_bytes(b"x")
        assert [path.name for path in discover(root)] == ["deep.wav"]
    finally:
        remove(root)  # pytest's own way recurses, too


def test_a_manifest_of_traps_goes_through_to_the_exports(
    workplace: Workplace, tracks: dict[str, Path]
) -> None:
    """Ids like formulas, SQL, paths and numbers, and columns that DuckDB has a meaning of its own for."""
    ids = [
        *(
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\tx",
            "\rx",
            "007",
            "1e5",
            "NA",
            "null",
            "../../etc/passwd",
            "a/b",
        ),
        *("'; DROP TABLE manifest; --", 'quote"s', "line\nbreak", "\U0001f3b5", "\x1b[31mred", "a,b"),
        *("caf\u00e9", "cafe\u0301"),
    ]
    columns = [
        "file_row_number",
        "filename",
        "rowid",
        "tempo_bpm",
        "tempo_bpm_1",
        'a"b',
        "select",
        "$x",
        "a;b",
        "ß",
        "line\nbreak",
    ]
    path = workplace.data.parent / "traps.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["song_id", "audio_path", *columns])
        for number, (song_id, song) in enumerate(zip(ids, tracks.values(), strict=False)):
            workplace.add(song, f"{number}.wav")  # whatever it is: names do not decide
            writer.writerow([song_id, f"{number}.wav", *(f"={name}" for name in columns)])
    report = workplace.run(path)
    assert not report.failed_jobs
    assert {row[0] for row in workplace.sql("SELECT song_id FROM audio_features")} == set(ids)
    assert workplace.sql("SELECT * FROM tracks LIMIT 1")

    exports = workplace.data / "exports"
    exported = exports / "merge_audio_features.csv"
    for table in (
        pd.read_csv(exported, dtype={"song_id": str}, keep_default_na=False)["song_id"].tolist(),
        [row["song_id"] for row in csv.DictReader(io.StringIO(exported.read_bytes().decode(), newline=""))],
        duckdb.read_csv(exported, all_varchar=True).project("song_id").to_df()["song_id"].tolist(),
    ):
        assert table == ids, "an id was changed on the way out"

    shown = cli("sql", "SELECT song_id FROM manifest", "--data", workplace.data)
    assert "\x1b" not in shown.stdout, "a terminal would obey an id"
    assert "\\x1b[31mred" in shown.stdout
    printed = cli("sql", "SELECT song_id FROM manifest", "--data", workplace.data, "--format", "csv")
    assert '"a,b"' in printed.stdout
    assert "6 texts begin like formulas" in printed.stderr


def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    Path(os.fsdecode(root + b"/latin-1 \xe9.wav")).write_bytes(b"x")
    (track,) = read_source(tmp_path, None).tracks.to_pylist()
    with pytest.raises(Exception, match=r"unsupported_path: the name of .* is not UTF-8"):
        locate(tmp_path, track["audio_path"])
