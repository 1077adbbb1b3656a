"""The demo library holds what its truth table says, as other people's detectors hear it."""

import csv
import ctypes

import numpy as np
import pytest
import soundfile
import soxr

from audio_assets.demo import library
from audio_assets.demo.library import DEMO_TRACKS, TONICS, demo_samples, make_demo_library

TEMPO_TOLERANCE = 0.04


@pytest.fixture(scope="module")
def mono_44k(demo_library):
    """Every track as a feature extractor would hear it."""
    heard = {}
    for track in DEMO_TRACKS:
        samples, rate_hz = soundfile.read(demo_library / "audio" / track.relative_path, dtype="float32")
        heard[track] = soxr.resample(samples.mean(axis=1), rate_hz, 44_100)
    return heard


def is_tempo_up_to_octave(found_bpm, track):
    return min(abs(found_bpm * f / track.tempo_bpm - 1) for f in (0.5, 1, 2)) < TEMPO_TOLERANCE


def test_library_covers_keys_tempi_and_formats():
    assert {track.key for track in DEMO_TRACKS} == {f"{t} {m}" for t in TONICS for m in ("major", "minor")}
    assert (min(t.tempo_bpm for t in DEMO_TRACKS), max(t.tempo_bpm for t in DEMO_TRACKS)) == (70, 170)
    assert {track.format for track in DEMO_TRACKS} == {"wav", "flac", "ogg", "mp3"}
    assert {track.sample_rate_hz for track in DEMO_TRACKS} == {22_050, 44_100, 48_000}
    assert all(12 <= track.duration_s <= 20 for track in DEMO_TRACKS)


@pytest.mark.parametrize("track", DEMO_TRACKS, ids=lambda track: track.relative_path)
def test_file_decodes_as_declared(demo_library, track):
    samples, rate_hz = soundfile.read(demo_library / "audio" / track.relative_path)
    assert rate_hz == track.sample_rate_hz
    assert samples.shape == (round(track.duration_s * rate_hz), 2)
    assert 0.5 < np.abs(samples).max() < 1
    assert np.abs(samples[:, 0] - samples[:, 1]).max() > 0.05  # really stereo


@pytest.mark.parametrize("track", DEMO_TRACKS, ids=lambda track: track.relative_path)
def test_tags_are_readable(demo_library, track):
    import mutagen

    file = mutagen.File(demo_library / "audio" / track.relative_path)
    names = ("TIT2", "TPE1", "TCON") if track.format in ("wav", "mp3") else ("title", "artist", "genre")
    found = [str(file[name][0] if isinstance(file[name], list) else file[name]) for name in names]
    assert found == [track.title, track.artist, track.genre]


def test_truth_table_states_the_tracks(demo_library):
    with (demo_library / "truth.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["relative_path"] for row in rows] == [track.relative_path for track in DEMO_TRACKS]
    assert [f"{row['key_tonic']} {row['key_mode']}" for row in rows] == [t.key for t in DEMO_TRACKS]
    assert [float(row["tempo_bpm"]) for row in rows] == [track.tempo_bpm for track in DEMO_TRACKS]


def test_samples_depend_on_the_seed_alone(demo_library):
    track = next(track for track in DEMO_TRACKS if track.format == "flac")
    on_disk, _ = soundfile.read(demo_library / "audio" / track.relative_path)
    assert np.array_equal(demo_samples(track), demo_samples(track))
    assert np.abs(on_disk - demo_samples(track)).max() <= 2**-15
    assert not np.array_equal(demo_samples(track), demo_samples(track, seed=1))


def test_key_is_recovered_on_every_track(mono_44k):
    import essentia.standard

    found = {track: essentia.standard.KeyExtractor()(samples) for track, samples in mono_44k.items()}
    assert {t.relative_path: f"{k} {m}" for t, (k, m, _) in found.items() if f"{k} {m}" != t.key} == {}


def test_librosa_recovers_the_tempo(mono_44k):
    import librosa

    found = {t: librosa.beat.beat_track(y=samples, sr=44_100)[0].item() for t, samples in mono_44k.items()}
    assert {t.relative_path: bpm for t, bpm in found.items() if not is_tempo_up_to_octave(bpm, t)} == {}


def test_essentia_recovers_the_tempo(mono_44k):
    import essentia.standard

    found = {}
    for track, samples in mono_44k.items():
        ctypes.CDLL(None).srand(1)  # its beat tracker dithers with C rand()
        found[track] = essentia.standard.RhythmExtractor2013(method="multifeature")(samples)[0]
    assert {t.relative_path: bpm for t, bpm in found.items() if not is_tempo_up_to_octave(bpm, t)} == {}


@pytest.fixture
def two_tracks(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "DEMO_TRACKS", DEMO_TRACKS[:2])
    return make_demo_library(tmp_path / "two")


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_second_call_changes_nothing_and_leaves_nothing_behind(two_tracks):
    before = snapshot(two_tracks.parent)
    make_demo_library(two_tracks)
    assert snapshot(two_tracks.parent) == before
    assert list(two_tracks.parent.iterdir()) == [two_tracks]


def test_incomplete_or_reseeded_library_is_made_anew(two_tracks):
    path = two_tracks / "audio" / DEMO_TRACKS[0].relative_path
    first = path.read_bytes()
    path.unlink()
    make_demo_library(two_tracks)
    assert path.read_bytes() == first
    make_demo_library(two_tracks, seed=1)
    assert path.read_bytes() != first


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path):
    (tmp_path / "my song.mp3").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"my song\.mp3"):
        make_demo_library(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["my song.mp3"]
