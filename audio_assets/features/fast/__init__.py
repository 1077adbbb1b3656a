"""The fast extractor: the reference's features from spectra that are made once, in compiled loops.

Every algorithm is written from its definition and held against the reference by tests/test_features_fast.py.
Beats, tempo and key are decisions: where two candidates are equal to within float32 rounding, this extractor
may decide otherwise than the reference. The same samples give the same bits on the same kind of processor.

What belongs here: one module a step. They are many because each is one algorithm from the literature, or
one way to compute many frames at once, short enough to be held against its source. What does not: names and
meaning of columns.

======================  ====================================================================================
`rhythm`                the rhythm columns: beats, tempo, rhythm transform, loudness at the beats
`spectral`              the timbre columns
`tonal`                 the tonal columns: HPCP and key
`power_scan`            the pass over librosa's frames: mel bands, centroids, contrast, chroma
`onset_scan`            the pass over essentia's frames: onset functions, bands, inharmonicity
`spectra`               spectra of a stretch of a track, for all passes
`fft`, `simd`           transforms of eight frames side by side; vectors as values in compiled code
`lanes`, `peaks`        loops over the bins of such spectra; their peaks
`onset_functions`       onset functions of single frames
`beats`                 from onset functions to beats, by `beat_periods` and `beat_agreement`
`tempo`                 onset strength, and tempo without beats
`pitch_classes`         from peaks to pitch classes
`float32`, `ranks`      arithmetic that rounds as the reference does; medians and the like
`_compiled`             decorators, and the folder that keeps machine code
======================  ====================================================================================
"""

from dataclasses import asdict
from functools import cache

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ
from audio_assets.features.fast._compiled import compiled_once
from audio_assets.features.fast.onset_scan import scan_onsets
from audio_assets.features.fast.power_scan import scan_power
from audio_assets.features.fast.rhythm import rhythm_features
from audio_assets.features.fast.spectral import spectral_features
from audio_assets.features.fast.tonal import tonal_features
from audio_assets.features.records import Columns


def feature_columns(samples: NDArray[np.float32]) -> Columns:
    """Compute the columns of all three families.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, finite, at least one second, not silent.

    Returns
    -------
    dict of str to float or None
        As the reference's.

    Raises
    ------
    KernelCacheError
        If there is no folder to keep compiled code in, or another process takes too long to fill it.
    """
    warm()
    return _feature_columns(samples)


def _feature_columns(samples: NDArray[np.float32]) -> Columns:
    power = scan_power(samples)
    scan = scan_onsets(samples)
    return {
        **asdict(rhythm_features(samples, power, scan)),
        **asdict(spectral_features(power, scan.inharmonicity)),
        **asdict(tonal_features(samples, power)),
    }


@cache
def warm() -> None:
    """Load everything that the first track of a process would wait for: kernels, tables, essentia.

    On a machine's first use ever the kernels are compiled, which takes tens of seconds.
    """
    clicks = np.zeros(7 * SAMPLE_RATE_HZ, np.float32)
    clicks[:: SAMPLE_RATE_HZ // 2] = 1  # long enough for beats that vote
    compiled_once(lambda: _use(clicks))


def _use(samples: NDArray[np.float32]) -> None:
    _feature_columns(samples)
