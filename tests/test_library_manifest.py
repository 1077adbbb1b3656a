"""Manifests: every column carried through, ids never parsed, the original's preprocessing as a recipe."""

import shutil
from pathlib import Path

import pytest

from audio_assets.library import ManifestError, read_source

MERGE_COLUMNS = [
    *("song_id", "quadrant", "artist", "title", "duration", "mood", "mood_all", "mood_all_weights"),
    *("genre", "genre_weights", "theme", "theme_weights", "style", "style_weights"),
    *("arousal", "valence", "audio_path"),
]
RECIPE = Path(__file__).parents[1] / "examples" / "manifests" / "merge.toml"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_carried_through_and_typed_without_loss(tmp_path: Path) -> None:
    manifest = write(
        tmp_path / "m.csv",
        'song_id,audio_path,zip,arousal,year,mood\n007,a.mp3,01234,0.5,1999,"Happy,Sad"\n8,b.mp3,5,,2001,\n',
    )
    tracks = read_source(tmp_path, manifest).tracks
    assert tracks.column_names == ["song_id", "audio_path", "zip", "arousal", "year", "mood"]
    assert tracks["song_id"].to_pylist() == ["007", "8"]
    assert tracks["zip"].to_pylist() == ["01234", "5"]
    assert tracks["arousal"].to_pylist() == [0.5, None]
    assert tracks["year"].to_pylist() == [1999, 2001]
    assert tracks["mood"].to_pylist() == ["Happy,Sad", None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("song_id,audio_path\na,x.mp3\na,y.mp3\n", "not unique: a"),
        ("song_id,audio_path\n,x.mp3\n", "blank in data rows 1"),
        ("id,audio_path\na,x.mp3\n", "no column song_id"),
        ("song_id,audio_path\na\n", "well-formed"),
        ("song_id,audio_path,x,x\na,b,1,2\n", "names a column twice: x"),
        ("", "well-formed"),
    ],
)
def test_a_malformed_manifest_is_refused_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        read_source(tmp_path, write(tmp_path / "m.csv", text))


def test_a_manifest_in_another_encoding_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_bytes("song_id,audio_path,title\na,x.mp3,Fuß\n".encode("latin-1"))
    with pytest.raises(ManifestError, match="UTF-8"):
        read_source(tmp_path, manifest)


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="mounted"):
        read_source(tmp_path / "nowhere", None)


def test_the_merge_recipe_preprocesses_as_the_original_did(tmp_path: Path) -> None:
    """Raw tables in the layout of the original's; each rule has a row that only it removes."""
    header = (
        "Song,Quadrant,Artist,Title,Duration,Moods,MoodsAll,MoodsAllWeights,Genres,GenresWeights,"
        "Themes,ThemesWeights,Styles,StylesWeights,Extra"
    )

    def row(song: str, mood: str = "Happy", genre: str = "Rock") -> str:
        return f'{song},Q1,A,T,200,Happy,{mood},5,"{genre}",5,Love,5,Indie,5,x'

    rows = [
        row("A002"),
        row("A003", mood=""),
        row("A004", mood="  "),
        row("A005", genre="Holiday"),
        row("A006", genre="Holiday,Vocal"),
        row("A007", genre="Holiday,Rock"),
        row("A008"),
        row("A009"),
    ]
    write(tmp_path / "merge_audio_balanced_metadata.csv", "\n".join([header, *rows]) + "\n")
    values = ["A002,0.5,0.25", "A003,0,0", "A004,0,0", "A005,0,0", "A006,0,0", "A007,1,1", "A009,,0.5"]
    write(
        tmp_path / "merge_audio_balanced_av_values.csv",
        "\n".join(["Song,Arousal,Valence", *values]) + "\n",
    )
    recipe = tmp_path / "merge.toml"
    shutil.copy(RECIPE, recipe)
    source = read_source(tmp_path, recipe)
    assert source.tracks["song_id"].to_pylist() == ["A002", "A007"]
    assert source.tracks["audio_path"].to_pylist() == ["Q1/A002.mp3", "Q1/A007.mp3"]
    assert source.tracks["arousal"].to_pylist() == [0.5, 1.0]
    assert sorted(source.tracks.column_names) == sorted(MERGE_COLUMNS)
    assert list(source.steps.values()) == [8, 7, 5, 5, 5, 5, 4, 4, 2]


def test_the_real_manifest_loads_whole(merge_data: Path) -> None:
    source = read_source(merge_data, merge_data / "merge_preprocessed.csv")
    assert source.tracks.num_rows == 2487
    assert source.tracks.column_names == MERGE_COLUMNS
    ids = source.tracks["song_id"].to_pylist()
    assert ids[0] == "A002"
    assert "MT0000004637" in ids
    assert source.tracks["arousal"].null_count == 0
    assert source.tracks["duration"].null_count == 96
