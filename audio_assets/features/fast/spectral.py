"""Timbre, fast: the 10 spectral columns from spectra that are made once a track.

Task and conventions are those of `audio_assets.features.reference.spectral`, whose functions call the
libraries and are the oracle for these.

What does not belong here: the pass over the spectra (`power_scan`).

References
----------
.. [1] Jiang et al. "Music type classification by spectral contrast feature". ICME, 2002.
.. [2] Brossier. "Automatic annotation of musical audio for interactive applications". PhD thesis, QMUL,
   2006.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from audio_assets.features._numeric import mean, std
from audio_assets.features.fast.power_scan import PowerScan, decibel
from audio_assets.features.records import SpectralFeatures


def spectral_features(power: PowerScan, inharmonicity: NDArray[np.float64]) -> SpectralFeatures:
    """Compute the 10 spectral columns.

    Parameters
    ----------
    power : PowerScan
        Of the track.
    inharmonicity : ndarray of float64, shape (frames,)
        Of its frames, -1 where a frame has none.

    Returns
    -------
    SpectralFeatures
        As the reference's.

    Notes
    -----
    Whether a frame has a pitch need not be computed. YIN-FFT [2]_ looks for a minimum of the cumulative mean
    normalised difference from lag 2 to the longest lag and lets both ends count, so it finds one whenever the
    frame has energy; its answer is "no pitch" (0) only in a frame without, and such a frame has no peaks.
    """
    mfcc = scipy.fft.dct(power.mean_log_mel_db, norm="ortho")[:5]  # the mean first: the DCT is linear
    pitched = inharmonicity[inharmonicity >= 0]
    return SpectralFeatures(
        **{f"mfcc_{i}_mean": float(value) for i, value in enumerate(mfcc, start=1)},
        spectral_centroid_mean=mean(power.centroid_hz),
        spectral_centroid_std=std(power.centroid_hz),
        spectral_contrast_mean=contrast_db(power.contrast_peaks, power.contrast_valleys),
        inharmonicity_mean=mean(pitched) if len(pitched) else None,
        inharmonicity_std=std(pitched) if len(pitched) else None,
    )


def contrast_db(peaks: NDArray[np.float64], valleys: NDArray[np.float64]) -> float:
    """Spectral contrast [1]_, mean over bands and frames, in dB; levels end 80 dB below their maximum."""
    return clipped_mean_db(peaks) - clipped_mean_db(valleys)


def clipped_mean_db(magnitudes: NDArray[np.float64]) -> float:
    """Mean level, no value more than 80 dB below the highest (librosa.power_to_db's default)."""
    level_db = decibel(magnitudes)
    return mean(np.maximum(level_db, level_db.max() - 80, out=level_db))
