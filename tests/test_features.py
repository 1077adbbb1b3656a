"""The feature rows against the libraries called straight from the contract, and against known music."""

import csv
import ctypes
import math
import time
from pathlib import Path

import numpy as np
import pytest
import signals

from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.features import EXTRACTOR_VERSIONS, FEATURE_NAMES, FEATURES
from audio_assets.features import extract_features as extract_features_of
from audio_assets.features.reference.tonal import key_angle_rad

REAL_TABLE = Path(__file__).parents[2] / "shared/data/merge_audio_features.csv"
BEATS_COLUMNS = [name for name in FEATURE_NAMES if name.startswith("beats_")]


@pytest.fixture(params=EXTRACTOR_VERSIONS)
def extractor(request):
    return request.param


@pytest.fixture
def extract_features(extractor):
    return lambda samples: extract_features_of(samples, extractor)


def bits(weights):
    p = np.clip(np.ravel(weights) / np.sum(weights), 1e-12, None)
    return -np.sum(p * np.log2(p))


def contract_rhythm(x):
    import essentia.standard as es
    import librosa

    onset = librosa.onset.onset_strength(y=x, sr=44_100)
    ctypes.CDLL(None).srand(1)
    _, ticks, _, _, intervals = es.RhythmExtractor2013(method="multifeature")(x)
    *peaks, histogram = es.BpmHistogramDescriptors()(intervals)
    window, spectrum = es.Windowing(type="hann"), es.Spectrum()
    mel = es.MelBands(numberBands=40, lowFrequencyBound=0, highFrequencyBound=22_050)
    starts = range(0, len(x) - 2048 + 1, 1024)
    bands = [mel(spectrum(window(x[start : start + 2048]))) for start in starts]
    transform = np.ravel(es.RhythmTransform(frameSize=8, hopSize=4)(np.array(bands)))
    loudness, ratio = es.BeatsLoudness(beats=ticks, frequencyBands=[20, 150, 400, 3200, 7000, 22050])(x)
    return [
        *(librosa.beat.beat_track(y=x, sr=44_100)[0][0], onset.mean(), onset.std()),
        *(intervals.mean(), intervals.std(), intervals.std() / intervals.mean()),
        *(*peaks, peaks[4] / peaks[1], bits(histogram)),
        *(transform.mean(), transform.std(), transform.max(), bits(np.abs(transform))),
        *(loudness.mean(), loudness.std()),
        *(ratio[:, :2].sum(axis=1).mean(), ratio[:, 2:4].sum(axis=1).mean(), ratio[:, 4].mean()),
    ]


def contract_spectral(x):
    import essentia.standard as es
    import librosa

    window, spectrum, pitch = es.Windowing(type="hann"), es.Spectrum(), es.PitchYinFFT(frameSize=2048)
    peaks = es.SpectralPeaks(maxPeaks=50, minFrequency=20, maxFrequency=22_050)
    values = []
    for start in range(0, len(x) - 2048 + 1, 512):
        magnitudes = spectrum(window(x[start : start + 2048]))
        frequencies, heights = peaks(magnitudes)
        if pitch(magnitudes)[0] > 0 and len(frequencies) > 1:
            values.append(es.Inharmonicity()(frequencies, heights))
    centroid = librosa.feature.spectral_centroid(y=x, sr=44_100)
    return [
        *librosa.feature.mfcc(y=x, sr=44_100, n_mfcc=5).mean(axis=1),
        *(centroid.mean(), centroid.std(), librosa.feature.spectral_contrast(y=x, sr=44_100).mean()),
        *(np.mean(values), np.std(values)),
    ]


def contract_tonal(x):
    import essentia.standard as es
    import librosa

    chroma = librosa.feature.chroma_stft(y=x, sr=44_100).mean(axis=1)
    window, spectrum = es.Windowing(type="blackmanharris62"), es.Spectrum()
    peaks = es.SpectralPeaks(
        maxPeaks=100, minFrequency=20, maxFrequency=5000, magnitudeThreshold=1e-5, orderBy="magnitude"
    )
    hpcp = es.HPCP(size=12, minFrequency=20, maxFrequency=5000, normalized="unitSum")
    starts = range(0, len(x) - 4096 + 1, 2048)
    profiles = np.array([hpcp(*peaks(spectrum(window(x[start : start + 4096])))) for start in starts])
    profile = profiles.mean(axis=0)
    key, scale, strength = es.KeyExtractor()(x)
    angle = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"].index(key) / 12 * 2 * np.pi
    return [
        bits(chroma),
        *(
            chroma[[0, 2, 4, 5, 7, 9, 11]].sum() / chroma.sum(),
            chroma[[0, 2, 3, 5, 7, 8, 10]].sum() / chroma.sum(),
        ),
        *(*profile, bits(profile), profile.std(), profile.max(), profiles.std(axis=0).mean()),
        *(strength, scale == "minor", np.cos(angle), np.sin(angle)),
    ]


@pytest.mark.parametrize("make", [signals.song, signals.band])
def test_equals_the_contract(make, extract_features):
    samples = make()
    expected = contract_rhythm(samples) + contract_spectral(samples) + contract_tonal(samples)
    actual = extract_features(samples)
    assert tuple(actual) == FEATURE_NAMES
    wrong = {
        name: (value, float(truth))
        for (name, value), truth in zip(actual.items(), expected, strict=True)
        if value != pytest.approx(float(truth), rel=2e-5, abs=1e-7)
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
def test_refused_and_at_once(spoil, code, extract_features):
    samples = spoil(signals.song(5)).astype(np.float32)
    started = time.monotonic()
    with pytest.raises(TrackFailure) as caught:
        extract_features(samples)
    assert caught.value.code == code
    assert time.monotonic() - started < 0.5


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
