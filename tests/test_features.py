"""The feature rows against the libraries called straight from the contract, and against known music."""

import csv
import ctypes
import math
from pathlib import Path

import numpy as np
import pytest
import signals
from plain_contract import plain_features

from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.features import EXTRACTOR_VERSIONS, FEATURE_NAMES, FEATURES
from audio_assets.features import extract_features as extract_features_of
from audio_assets.features.reference.tonal import key_angle_rad

REAL_TABLE = Path(__file__).parents[2] / "shared/data/merge_audio_features.csv"
pytestmark = pytest.mark.usefixtures("warm_kernels")

BEATS_COLUMNS = [name for name in FEATURE_NAMES if name.startswith("beats_")]


@pytest.fixture(params=EXTRACTOR_VERSIONS)
def extractor(request):
    return request.param


@pytest.fixture
def extract_features(extractor):
    return lambda samples: extract_features_of(samples, extractor)


@pytest.mark.parametrize("make", [signals.song, signals.band])
def test_equals_the_contract(make, extract_features):
    samples = make()
    expected, actual = plain_features(samples), extract_features(samples)
    assert tuple(actual) == FEATURE_NAMES
    wrong = {
        name: (value, expected[name])
        for name, value in actual.items()
        if value != pytest.approx(expected[name], rel=2e-5, abs=1e-7)
    }
    assert not wrong


@pytest.mark.parametrize("minor", [False, True], ids=["major", "minor"])
@pytest.mark.parametrize("tonic", range(12))
def test_key_of_a_cadence(tonic, minor, extract_features):
    row = extract_features(signals.cadence(tonic, minor))
    assert row["is_minor"] == minor
    assert (row["key_cos"], row["key_sin"]) == pytest.approx(
        (math.cos(tonic * math.pi / 6), math.sin(tonic * math.pi / 6)), abs=1e-9
    )


def test_key_names():
    for flat, sharp in {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#"}.items():
        assert key_angle_rad(flat) == key_angle_rad(sharp) > 0
    with pytest.raises(ValueError, match="'H'"):
        key_angle_rad("H")


@pytest.mark.parametrize("bpm", [60, 72, 84, 96, 110, 120, 133, 144, 160, 180])
def test_tempo_of_clicks(bpm, extract_features):
    row = extract_features(signals.click_track(bpm))
    for found in (row["tempo_bpm"], 60 / row["beat_interval_mean"], row["bpm_first_peak"]):
        assert min(abs(found * octave / bpm - 1) for octave in (0.5, 1, 2)) < 0.04


def test_same_bits_whatever_came_before(extract_features):
    samples = np.pad(signals.band(7), (2 * 44_100, 6 * 44_100))  # in silence the beats are essentia's dither
    alone = extract_features(samples)
    extract_features(signals.click_track(97, 6))
    ctypes.CDLL(None).srand(12345)
    assert extract_features(samples) == alone


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda x: x * 0, FailureCode.SILENT),
        (lambda x: x * 0 + 0.5, FailureCode.SILENT),
        (lambda x: x * 1e-5, FailureCode.SILENT),
        (lambda x: x * np.nan, FailureCode.NON_FINITE_AUDIO),
        (lambda x: np.where(np.arange(len(x)) == 7, np.inf, x), FailureCode.NON_FINITE_AUDIO),
        (lambda x: x * 1e30, FailureCode.ABSURD_AMPLITUDE),
        (lambda x: x[:40_000], FailureCode.TOO_SHORT),
        (lambda x: x[:0], FailureCode.TOO_SHORT),
    ],
)
def test_refused(spoil, code, extract_features):
    with pytest.raises(TrackFailure) as caught:
        extract_features(spoil(signals.song(5)).astype(np.float32))
    assert caught.value.code == code


@pytest.mark.parametrize("samples", [np.ones((2, 50_000), np.float32), np.ones(50_000)])
def test_wrong_array_is_a_programming_error(samples, extract_features):
    with pytest.raises(ValueError, match="float32"):
        extract_features(samples)


def test_non_finite_result_names_its_columns(monkeypatch, extractor, extract_features):
    if extractor == "fast":
        monkeypatch.setattr("audio_assets.features.fast.spectral.contrast_db", lambda *_: np.nan)
    else:
        nan = np.array([np.nan])
        monkeypatch.setattr("librosa.feature.spectral_contrast", lambda **_: nan)
    with pytest.raises(TrackFailure, match=r"spectral_contrast_mean$") as caught:
        extract_features(signals.song(3))
    assert caught.value.code == FailureCode.NON_FINITE_RESULT


@pytest.mark.parametrize("make", [signals.song, signals.band])
def test_loudness_at_the_beats_is_there(make, extract_features):
    row = extract_features(make())
    assert all(row[name] > 0 for name in BEATS_COLUMNS)


def test_drone_has_no_invented_zeros(extract_features):
    row = extract_features(signals.drone(8))
    assert row["tempo_bpm"] is None  # librosa answers 0
    #: Zero as a value: no second peak in the histogram, no energy in these pitch classes.
    real_zeros = {
        name for name in row if name.startswith(("bpm_second", "bpm_peak_ratio", "bpm_first_spread"))
    }
    real_zeros |= {f"hpcp_{i}" for i in range(1, 12)} | {"is_minor", "key_sin", "key_cos"}
    assert {name for name, value in row.items() if value == 0} <= real_zeros
    assert row["hpcp_0"] > 0.9  # 220 Hz is an A


def test_fewer_than_two_beats_have_no_intervals(monkeypatch, extractor, extract_features):
    one_beat_s, nothing = np.array([0.5], np.float32), np.empty(0, np.float32)

    class OneBeat:
        def reset(self): ...
        def __call__(self, samples):
            return 0.0, one_beat_s, 0.0, nothing, nothing

    if extractor == "fast":
        monkeypatch.setattr("audio_assets.features.fast.beats.most_agreeing", lambda *_: 0)
        monkeypatch.setattr("audio_assets.features.fast.beats.follow_beats", lambda *_: (one_beat_s, 0))
    else:
        monkeypatch.setattr("audio_assets.features.reference.rhythm._beat_tracker", OneBeat)
    row = extract_features(signals.song(3))
    missing = {name for name, value in row.items() if value is None}
    assert missing == {
        name for name in FEATURE_NAMES if name.startswith(("beat_interval", "bpm_")) or name in BEATS_COLUMNS
    }


def test_nothing_below_5_khz_has_no_pitch_classes(extract_features):
    row = extract_features(signals.drone(3, frequency_hz=15_000))
    for name in FEATURE_NAMES:
        if name.startswith(("hpcp", "key")) or name == "is_minor":
            assert row[name] is None, name


def test_silent_beats_have_no_bands(extract_features):
    samples = np.zeros(5 * 44_100, np.float32)
    samples[1000] = 1
    row = extract_features(samples)
    assert row["beats_low_ratio"] is row["beats_mid_ratio"] is row["beats_high_ratio"] is None


@pytest.mark.parametrize(
    "make", [signals.song, signals.band, signals.drone, lambda: signals.click_track(90, 8)]
)
def test_values_keep_their_bounds(make, extract_features):
    row = extract_features(make())
    assert not [f for f in FEATURES if not within(f, row[f.name])]


@pytest.mark.skipif(not REAL_TABLE.exists(), reason="the real table is not part of the project")
def test_columns_and_bounds_of_the_real_table():
    with REAL_TABLE.open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == ("song_id", *FEATURE_NAMES)
    assert not [f.name for f in FEATURES for row in rows if not within(f, float(row[f.name]))]


def within(feature, value):
    above = feature.lower is None or value is None or value >= feature.lower
    return above and (feature.upper is None or value is None or value <= feature.upper)


def test_comments_tell_the_two_first_bins_apart():
    by_name = {feature.name: feature for feature in FEATURES}
    assert "bin 0 is A" in by_name["hpcp_0"].description
    assert "bin 0 is C" in by_name["chroma_entropy"].description
    assert "note A " in by_name["hpcp_0"].description
    assert "note C " in by_name["hpcp_3"].description


def test_the_page_on_features_says_what_each_column_is():
    page = (Path(__file__).parents[1] / "docs/features.md").read_text(encoding="utf-8")
    for feature in FEATURES:
        unit = "" if feature.unit == "1" else feature.unit
        assert f"| `{feature.name}` | {unit} | {feature.description} |" in page
