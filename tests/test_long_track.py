"""An hour of music, from the file to its features, in one worker of the pool that runs use."""

import sys

import numpy as np
import pytest
import signals
import soundfile
from fresh_process import peak_mb

from audio_assets.audio import decode_mono
from audio_assets.features import SAMPLE_RATE_HZ, extract_features
from resources.analysis_pool import AnalysisPool

HOUR_S = 3600


def analyse(path):
    samples = decode_mono(path, SAMPLE_RATE_HZ).samples
    return len(samples), extract_features(samples), peak_mb()


@pytest.fixture
def hour(tmp_path):
    """Stereo: a piece of 12 s again and again, over hiss of which no minute is the same."""
    left = np.tile(signals.band(12), 5)
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(tmp_path / "mix.wav", "w", SAMPLE_RATE_HZ, 2) as mix:
        for _ in range(HOUR_S // 60):
            hiss = 0.01 * rng.standard_normal((len(left), 2), dtype=np.float32)
            mix.write(hiss + np.stack([left, 0.5 * left], axis=1))
    return tmp_path / "mix.wav"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("warm_kernels")
def test_an_hour_stays_below_1500_mb(hour):
    """Its samples alone are 635 MB; joined blocks, a resampled copy or spectra of the whole would show."""
    with AnalysisPool(workers=1).open() as pool:
        [(_, outcome)] = pool.map_unordered(analyse, [hour])
    samples, row, peak = outcome
    assert samples == HOUR_S * SAMPLE_RATE_HZ
    assert None not in row.values()
    assert peak < 1500
