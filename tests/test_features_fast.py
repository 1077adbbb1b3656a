"""The fast extractor against the reference: same values, same decisions, same bits every time."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import signals

from audio_assets.audio import decode_mono
from audio_assets.failures import TrackFailure
from audio_assets.features import EXTRACTOR_VERSIONS, SAMPLE_RATE_HZ, extract_features
from audio_assets.features.fast._compiled import digest
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

#: Decisions: where they differ, every column that hangs on them differs.
BEAT_COLUMNS = ("beat_", "beats_", "bpm_")
EXACT = ("tempo_bpm", "is_minor", "key_cos", "key_sin")


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


def bound(column):
    return 5e-4 if column.startswith("inharmonicity") else 1e-5


def agrees(column, value, truth):
    if truth is None or value is None:
        return value is truth
    if column in EXACT:
        return value == pytest.approx(truth, abs=1e-9)
    return value == pytest.approx(truth, rel=bound(column), abs=1e-7)  # float32 of a share of 1


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
    """Whether the beats are the same, whether the reference would keep its own, and columns that are wrong.

    A column beyond its bound is not wrong if the reference itself leaves the bound under noise.
    """
    reference, beats_s = extract_features(samples, "reference"), reference_beats(samples)[0]
    same_beats = np.array_equal(beats_of(samples), beats_s)
    firm_beats = same_beats or all(
        np.array_equal(reference_beats(x)[0], beats_s) for x in under_noise(samples)
    )
    wrong = disagreements(extract_fast(samples), reference, same_beats)
    if wrong:
        for noisy in under_noise(samples):
            for column in disagreements(extract_features(noisy, "reference"), reference):
                wrong.pop(column, None)
    return same_beats, firm_beats, wrong


@pytest.mark.parametrize("name", SIGNALS)
def test_agrees_on_synthetic_signals(name):
    same_beats, firm_beats, wrong = judge(SIGNALS[name]())
    assert not wrong
    assert same_beats or not firm_beats


def test_agrees_on_the_demo_tracks(tracks):
    same_beats, wrong = [], {}
    for name, path in tracks.items():
        try:
            samples = decode_mono(path, SAMPLE_RATE_HZ).samples[: 30 * SAMPLE_RATE_HZ]
            same, _, found = judge(samples)
        except TrackFailure:
            continue
        same_beats.append(same)
        wrong |= {name: found} if found else {}
    assert not wrong
    assert len(same_beats) >= 10
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


def test_same_bits_in_any_order_and_process():
    samples = [make() for make in (signals.song, signals.band, signals.drone, SIGNALS["silence around"])]
    rows = [extract_fast(x) for x in samples]
    assert [extract_fast(x) for x in reversed(samples)] == rows[::-1]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(extract_fast, samples) == rows


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


def test_memory_does_not_hold_a_tracks_spectra():
    """15 minutes: the spectra of librosa's frames alone would be 318 MB."""
    code = (
        "import resource, numpy as np; from audio_assets.features import extract_features\n"
        "peak_mb = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "samples = np.random.default_rng(0).standard_normal(15 * 60 * 44_100, dtype=np.float32)\n"
        "extract_features(samples[:50_000], 'fast')\n"
        "before = peak_mb()\n"
        "extract_features(samples, 'fast')\n"
        "print(peak_mb() - before)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(run.stdout) < 200


def test_an_edit_gives_the_kernel_cache_another_place(tmp_path):
    module = tmp_path / "loops.py"
    module.write_text("A = 1")
    before = digest(tmp_path)
    module.write_text("A = 2")
    assert digest(tmp_path) != before


def test_nowhere_to_keep_kernels_is_told_and_ends_no_worker(monkeypatch):
    code = (
        "from audio_assets.audio import IsolatedPool\n"
        "from audio_assets.features import PRELOAD, extract_features\n"
        "import signals\n"
        "if __name__ == '__main__':\n"
        "    with IsolatedPool(workers=1, timeout_s=60, preload=PRELOAD) as pool:\n"
        "        (_, outcome), *_ = pool.map_unordered(extract_features, [signals.song(3)])\n"
        "        print(outcome)"
    )
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/dev/null")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "set NUMBA_CACHE_DIR to a folder that can be written to" in run.stdout


def test_leaves_librosa_alone():
    code = (
        "import sys, numpy as np; from audio_assets.features import extract_features; "
        "extract_features(np.random.default_rng(0).standard_normal(50_000).astype(np.float32), 'fast'); "
        "assert not {'librosa', 'sklearn', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
