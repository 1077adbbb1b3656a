"""Samples to one row of 56 numbers, or the reason why there is none.

Task: guard essentia against input that hangs or misleads it, run an extractor, and refuse a row with NaN or
infinity. Input is mono float32 at 44,100 Hz; `audio_assets.audio` makes such samples from files.

What does not belong here: the features themselves, files, and the columns' documentation (`columns`).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.features._numeric import SAMPLE_RATE_HZ
from audio_assets.features.columns import FEATURE_NAMES, FEATURES
from audio_assets.features.records import Columns

Extractor = Literal["fast", "reference"]

#: Part of the key under which results are stored: change it and every row is computed again.
EXTRACTOR_VERSIONS: dict[Extractor, str] = {"fast": "fast-1", "reference": "reference-1"}

#: Version of the rows that `extract_features` gives if not told otherwise.
EXTRACTOR_VERSION = EXTRACTOR_VERSIONS["fast"]

#: essentia finds no beats below about 0.8 s.
MIN_DURATION_S = 1.0

#: -80 dBFS. essentia tracks beats at 738 BPM and finds A minor in silence.
SILENCE_PEAK = 1e-4

#: +60 dBFS. Far beyond it (1e30) essentia's peak detection never ends.
MAX_PEAK = 1e3


def extract_features(samples: NDArray[np.float32], extractor: Extractor = "fast") -> Columns:
    """Compute the feature row of one track.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        The whole track, mono, at 44,100 Hz.
    extractor : {'fast', 'reference'}
        Compiled loops over shared spectra, or the libraries' own functions, which those are judged by.

    Returns
    -------
    dict of str to float or None
        One entry for each of `FEATURE_NAMES`, in that order. None where a feature has no meaning for this
        track. The same samples give the same bits, whatever was analysed before.

    Raises
    ------
    TrackFailure
        TOO_SHORT, NON_FINITE_AUDIO, ABSURD_AMPLITUDE, SILENT: nothing was computed.
        NON_FINITE_RESULT, IMPOSSIBLE_RESULT: the message names the columns that came out NaN, infinite or
        outside the range that their definition allows.
    ValueError
        If `samples` is not a one-dimensional float32 array.
    """
    refuse_unanalysable(samples)
    values = _feature_columns(np.ascontiguousarray(samples), extractor)
    not_finite = [name for name, value in values.items() if value is not None and not np.isfinite(value)]
    if not_finite:
        raise TrackFailure(FailureCode.NON_FINITE_RESULT, f"not finite: {', '.join(not_finite)}")
    impossible = [feature.name for feature in FEATURES if not feature.allows(values[feature.name])]
    if impossible:
        raise TrackFailure(FailureCode.IMPOSSIBLE_RESULT, f"out of range: {', '.join(impossible)}")
    return {name: values[name] for name in FEATURE_NAMES}


def _feature_columns(samples: NDArray[np.float32], extractor: Extractor) -> Columns:
    if extractor == "fast":
        from audio_assets.features.fast import feature_columns
    else:
        from audio_assets.features.reference import feature_columns
    return feature_columns(samples)


def refuse_unanalysable(samples: NDArray[np.float32]) -> None:
    """Raise for samples that would hang essentia or make it answer nonsense.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz.

    Raises
    ------
    TrackFailure, ValueError
        As `extract_features`.
    """
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise ValueError(f"expected float32 samples of shape (n,), got {samples.dtype} {samples.shape}")
    duration_s = len(samples) / SAMPLE_RATE_HZ
    if duration_s < MIN_DURATION_S:
        raise TrackFailure(FailureCode.TOO_SHORT, f"{duration_s:.3f} s, at least {MIN_DURATION_S} s needed")
    lowest, highest = float(samples.min()), float(samples.max())  # both NaN where any sample is
    if not np.isfinite([lowest, highest]).all():
        raise TrackFailure(FailureCode.NON_FINITE_AUDIO, "the samples hold NaN or infinity")
    if max(-lowest, highest) > MAX_PEAK:
        raise TrackFailure(
            FailureCode.ABSURD_AMPLITUDE, f"peak {max(-lowest, highest):.3g}, limit {MAX_PEAK:g}"
        )
    if (highest - lowest) / 2 < SILENCE_PEAK:  # half the span: a constant offset is silence too
        raise TrackFailure(FailureCode.SILENT, f"peak {(highest - lowest) / 2:.3g}, limit {SILENCE_PEAK:g}")
