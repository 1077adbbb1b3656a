"""The fast extractor: the reference's features from spectra that are made once, in compiled loops.

Every algorithm is written from its definition and held against the reference by tests/test_features_fast.py.
Beats, tempo and key are decisions: where two candidates are equal to within float32 rounding, this extractor
may decide otherwise than the reference. The same samples give the same bits on the same kind of processor.

What belongs here: one module a step, from spectra (`spectra`, `onset_scan`) to the families (`rhythm`,
`spectral`, `tonal`). What does not: names and meaning of columns.
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
        If there is no folder to keep compiled code in.
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
