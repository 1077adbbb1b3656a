"""Our log-mel spectrograms are those of the stock extractor, faster and without torch."""

import subprocess
import sys

import numpy as np
import pytest
from transformers import ClapFeatureExtractor

from audio_assets.audio import decode_mono
from audio_assets.embeddings import SAMPLE_RATE_HZ, WINDOW_SAMPLES, Windowing, cut_windows, to_log_mel
from audio_assets.embeddings.log_mel import HIGHEST_HZ, LOWEST_HZ, mel_filters

#: Largest difference in dB; only bands 90 dB and more below the loudest of their frame come near it.
PARITY_DB = 0.05
#: Largest difference in bands within 60 dB of the loudest of their frame.
PARITY_LOUD_DB = 1e-3


@pytest.fixture(scope="module")
def stock():
    extractor = ClapFeatureExtractor(
        frequency_min=LOWEST_HZ, frequency_max=HIGHEST_HZ, truncation="rand_trunc", padding="repeatpad"
    )
    return lambda samples: extractor(samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="np")[
        "input_features"
    ][0, 0]


def compare(ours, theirs):
    difference = np.abs(ours - theirs)
    assert difference.max() < PARITY_DB
    assert difference[theirs > theirs.max(axis=1, keepdims=True) - 60].max() < PARITY_LOUD_DB


def test_filters_equal_the_stock_ones():
    stock = ClapFeatureExtractor(frequency_min=LOWEST_HZ, frequency_max=HIGHEST_HZ).mel_filters_slaney
    np.testing.assert_allclose(mel_filters(), stock, rtol=0, atol=1e-15)


def test_music_sounds_as_to_the_stock_extractor(tracks, stock):
    paths = [path for path in tracks.values() if path.stat().st_size > 100_000][:5]
    assert len(paths) == 5
    for path in paths:
        for window in cut_windows(decode_mono(path, SAMPLE_RATE_HZ).samples, Windowing(2)):
            compare(to_log_mel(window[np.newaxis])[0], stock(window))


@pytest.mark.parametrize("n_samples", [1, 480, 47_999, 159_000, 240_001, 479_999])
def test_short_audio_sounds_as_to_the_stock_extractor(n_samples, stock):
    samples = np.random.default_rng(n_samples).uniform(-0.5, 0.5, n_samples).astype(np.float32)
    (ours,) = to_log_mel(cut_windows(samples, Windowing()))
    compare(ours, stock(samples))


@pytest.mark.parametrize("level", [0.0, 1e-7, 1.0])
def test_extreme_levels(level, stock):
    window = np.full(WINDOW_SAMPLES, level, np.float32)
    window[::3] *= -1
    assert np.abs(to_log_mel(window[np.newaxis])[0] - stock(window)).max() < PARITY_DB


def test_a_window_is_heard_alone_as_in_company():
    windows = np.random.default_rng(0).standard_normal((3, WINDOW_SAMPLES)).astype(np.float32)
    together = to_log_mel(windows)
    assert together.shape == (3, 1001, 64)
    assert together.dtype == np.float32
    for window, expected in zip(windows, together, strict=True):
        np.testing.assert_array_equal(to_log_mel(window[np.newaxis])[0], expected)
    assert to_log_mel(windows[:0]).shape == (0, 1001, 64)


@pytest.mark.parametrize("n_samples", [WINDOW_SAMPLES - 1, WINDOW_SAMPLES + 1])
def test_windows_that_could_be_cropped_are_refused(n_samples):
    with pytest.raises(ValueError, match="480000"):
        to_log_mel(np.zeros((1, n_samples), np.float32))


def test_the_workers_need_no_torch():
    code = (
        "import sys, numpy, audio_assets.tracks; from audio_assets.embeddings import to_log_mel;"
        "to_log_mel(numpy.zeros((1, 480_000), numpy.float32));"
        "sys.exit(bool({'torch', 'transformers', 'openvino'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
