"""The reference extractor: every feature by a plain call of the library that defines it.

It is slow, and the oracle that the fast extractor is judged by. What belongs here: calls of librosa and
essentia with the parameters of CONTRACT §2. What does not: any algorithm of our own.
"""

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from audio_assets.features.records import Columns
from audio_assets.features.reference.rhythm import rhythm_features
from audio_assets.features.reference.spectral import spectral_features
from audio_assets.features.reference.tonal import tonal_features


def feature_columns(samples: NDArray[np.float32]) -> Columns:
    """Compute the columns of all three families.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, finite, at least one second, not silent.

    Returns
    -------
    dict of str to float or None
        In contract order within each family; None where a feature has no meaning for this track.
    """
    return {
        **asdict(rhythm_features(samples)),
        **asdict(spectral_features(samples)),
        **asdict(tonal_features(samples)),
    }
