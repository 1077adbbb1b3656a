"""The fast extractor against the reference: same values, same decisions, same bits every time."""

import sys

import numpy as np
import pytest
import signals
from fresh_process import run_fresh

from audio_assets.audio import IsolatedPool, decode_mono
from audio_assets.failures import TrackFailure
from audio_assets.features import EXTRACTOR_VERSIONS, PRELOAD, SAMPLE_RATE_HZ, extract_features
from audio_assets.features.agreement import agrees
from audio_assets.features.fast.beats import track_beats
from audio_assets.features.fast.onset_scan import scan_onsets
from audio_assets.features.fast.spectra import essentia_rows
from audio_assets.features.fast.tonal import (
    HPCP_BAND_HZ,
    HPCP_FRAME,
    HPCP_HOP,
    HPCP_PEAKS,
    HPCP_THRESHOLD,
    hpcp,
)
from audio_assets.features.reference.rhythm import track_beats as reference_beats

pytestmark = pytest.mark.usefixtures("warm_kernels")

#: Hang on a decision: where the beats differ, all of these do.
BEAT_COLUMNS = ("beat_", "beats_", "bpm_")

#: So many times the reference's own movement under noise may a value beyond its bound be off. A pure high
#: tone's inharmonicity takes 3.7 of them: it is that of rounding errors. Nothing else takes 3.
MOVEMENTS = 4


def noise(duration_s=4.0):
    return (0.1 * np.random.default_rng(3).standard_normal(int(duration_s * SAMPLE_RATE_HZ))).astype(
        np.float32
    )


def single_impulse():
    samples = np.zeros(5 * SAMPLE_RATE_HZ, np.float32)
    samples[1000] = 1
    return samples


SIGNALS = {
    "song": signals.song,
    "band": signals.band,
    "cadence": lambda: signals.cadence(3, minor=True),
    "clicks": lambda: signals.click_track(97, 12),
    "shortest": lambda: signals.band(8)[100_000 : 100_000 + SAMPLE_RATE_HZ],
    "odd length": lambda: signals.song(6)[:220_501],
    "noise": noise,
    "drone": signals.drone,
    "low drone": lambda: signals.drone(4, frequency_hz=30),
    "offset": lambda: signals.band(6) + np.float32(0.05),
    "quiet": lambda: signals.band(6) * np.float32(1e-3),
    "loud": lambda: signals.band(6) * np.float32(900),
    "silence around": lambda: np.pad(signals.band(6), (2 * SAMPLE_RATE_HZ, 5 * SAMPLE_RATE_HZ)),
    "nothing but highs": lambda: signals.drone(3, frequency_hz=15_000),
    "one impulse": single_impulse,
}


def beats_of(samples):
    return track_beats(scan_onsets(samples).functions)


def extract_fast(samples):
    return extract_features(samples, "fast")


def disagreements(row, reference, same_beats=True):
    """Columns beyond the bounds; those that hang on the beats only if the beats are the same."""
    return {
        column: (row[column], truth)
        for column, truth in reference.items()
        if (same_beats or not column.startswith(BEAT_COLUMNS)) and not agrees(column, row[column], truth)
    }


def under_noise(samples):
    """The same, three times, with noise of 1e-7 of the peak: what a value does there is how exact it is."""
    for seed in range(3):
        noise = np.random.default_rng(seed).standard_normal(len(samples))
        yield (samples + 1e-7 * np.abs(samples).max() * noise).astype(np.float32)


def judge(samples):
    """Whether the beats are the same, whether the reference keeps its own under noise, wrong columns."""
    reference, beats_s = extract_features(samples, "reference"), reference_beats(samples)[0]
    same_beats = firm_beats = np.array_equal(beats_of(samples), beats_s)
    wrong = disagreements(extract_fast(samples), reference, same_beats)
    if wrong or not same_beats:
        noisy = [
            (extract_features(x, "reference"), np.array_equal(reference_beats(x)[0], beats_s))
            for x in under_noise(samples)
        ]
        firm_beats = all(same for _, same in noisy)
        wrong = {column: pair for column, pair in wrong.items() if not excused(column, *pair, noisy)}
    return same_beats, firm_beats, wrong


def excused(column, value, truth, noisy):
    """Whether the reference moves about as far under noise; beat columns only where it keeps its beats."""
    rows = [row for row, same in noisy if same or not column.startswith(BEAT_COLUMNS)]
    movement = max((distance(row[column], truth) for row in rows), default=0.0)
    return distance(value, truth) <= MOVEMENTS * movement


def distance(value, truth):
    if value is None or truth is None:
        return 0.0 if value is truth else np.inf
    return abs(value - truth)


@pytest.mark.parametrize("name", SIGNALS)
def test_agrees_on_synthetic_signals(name):
    same_beats, firm_beats, wrong = judge(SIGNALS[name]())
    assert not wrong
    assert same_beats or not firm_beats


def test_agrees_on_the_demo_tracks(tracks):
    same_beats, wrong = [], {}
    for name, path in tracks.items():
        same, _, found = judge(decode_mono(path, SAMPLE_RATE_HZ).samples)
        same_beats.append(same)
        wrong |= {name: found} if found else {}
    assert not wrong
    assert len(same_beats) == 24
    assert np.mean(same_beats) >= 0.94


@pytest.mark.parametrize("name", ["shortest", "band", "quiet", "noise"])
def test_pitch_classes_of_the_same_spectra_are_essentias(name):
    """Then all that the two can differ in is how the transform rounds, which near ties of bins hang on."""
    from audio_assets.features._essentia import es

    samples = SIGNALS[name]()
    ours = hpcp(samples)
    band = {"minFrequency": HPCP_BAND_HZ[0], "maxFrequency": HPCP_BAND_HZ[1]}
    peaks = es.SpectralPeaks(
        maxPeaks=HPCP_PEAKS, magnitudeThreshold=HPCP_THRESHOLD, orderBy="magnitude", **band
    )
    profile = es.HPCP(size=12, normalized="unitSum", **band)
    bins = HPCP_FRAME // 2 + 1
    spectra = essentia_rows(samples, 0, HPCP_FRAME, HPCP_HOP, "blackmanharris62", len(ours), bins)
    theirs = np.array([profile(*peaks(spectrum)) for spectrum in spectra])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_an_impulses_beats_hang_on_the_rounding_of_its_correlation(monkeypatch):
    """Beyond lag 2 it is 0 but for rounding; with essentia's rounding the beats are essentia's."""
    from audio_assets.features._essentia import es

    correlation = es.AutoCorrelation(normalization="unbiased")
    monkeypatch.setattr(
        "audio_assets.features.fast.beats.frame_correlation",
        lambda frames: np.array([correlation(frame) for frame in frames]),
    )
    samples = single_impulse()
    assert np.array_equal(beats_of(samples), reference_beats(samples)[0])


@pytest.mark.parametrize("code", ["silent", "nan", "huge", "short"])
def test_refuses_what_the_reference_refuses(code):
    song = signals.song(3)
    spoilt = {"silent": song * 0, "nan": song * np.nan, "huge": song * 1e30, "short": song[:40_000]}
    failures = []
    for extractor in EXTRACTOR_VERSIONS:
        with pytest.raises(TrackFailure) as caught:
            extract_features(spoilt[code].astype(np.float32), extractor)
        failures.append((caught.value.code, str(caught.value)))
    assert failures[0] == failures[1]


def row_of(name):
    return extract_fast(SIGNALS[name]())


def test_same_bits_in_any_order_and_process():
    names = ["song", "band", "drone", "silence around", "noise", "shortest"]
    rows = {name: row_of(name) for name in names}
    assert {name: row_of(name) for name in reversed(names)} == rows
    for workers, order in ((1, names), (2, names[::-1])):
        with IsolatedPool(workers, timeout_s=120, preload=PRELOAD) as pool:
            assert dict(pool.map_unordered(row_of, order)) == rows


def test_a_view_gives_the_same_bits():
    samples = signals.song(4)
    spaced = np.repeat(samples, 2)[::2]
    assert not spaced.flags.c_contiguous
    assert extract_fast(spaced) == extract_fast(samples)


def test_size_of_blocks_changes_no_bit(monkeypatch):
    samples = signals.band(40)
    monkeypatch.setattr("audio_assets.features.fast.spectra.BLOCK_FRAMES", 16 * 1000)
    at_once = extract_fast(samples)
    monkeypatch.setattr("audio_assets.features.fast.spectra.BLOCK_FRAMES", 16)
    assert extract_fast(samples) == at_once
    monkeypatch.setattr("audio_assets.features.fast.power_scan.KEPT_FRAMES", 0)
    assert extract_fast(samples) == at_once


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_hold_a_tracks_spectra():
    """15 minutes: the spectra of librosa's frames alone would be 318 MB."""
    code = (
        "import numpy as np; from audio_assets.features import extract_features\n"
        "from fresh_process import peak_mb\n"
        "samples = np.random.default_rng(0).standard_normal(15 * 60 * 44_100, dtype=np.float32)\n"
        "extract_features(samples[:50_000], 'fast')\n"
        "before = peak_mb()\n"
        "extract_features(samples, 'fast')\n"
        "print(peak_mb() - before)"
    )
    assert float(run_fresh(code)) < 200


def test_leaves_librosa_alone():
    code = (
        "import sys, numpy as np; from audio_assets.features import extract_features; "
        "extract_features(np.random.default_rng(0).standard_normal(50_000).astype(np.float32), 'fast'); "
        "assert not {'librosa', 'sklearn', 'torch'} & set(sys.modules)"
    )
    run_fresh(code)
