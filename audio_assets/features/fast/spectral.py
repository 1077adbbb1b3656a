"""Timbre, fast: the 10 spectral columns from spectra that are made once a track.

Task and conventions are those of `audio_assets.features.reference.spectral`, whose functions call the
libraries and are the oracle for these.

What does not belong here: loops (`lanes`, `peaks`), spectra (`spectra`).

References
----------
.. [1] Jiang et al. "Music type classification by spectral contrast feature". ICME, 2002.
.. [2] Brossier. "Automatic annotation of musical audio for interactive applications". PhD thesis, QMUL,
   2006.
"""

from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ, mean, std
from audio_assets.features.fast.lanes import band_extremes, centroids
from audio_assets.features.fast.onset_scan import OnsetScan
from audio_assets.features.fast.peaks import inharmonicities
from audio_assets.features.fast.spectra import BINS, FRAME, Spectra, clipped_db
from audio_assets.features.records import SpectralFeatures

BIN_HZ = SAMPLE_RATE_HZ / FRAME

#: Lowest frequency and number of peaks that the inharmonicity looks at.
FIRST_PEAK_HZ = 20
MOST_PEAKS = 50


def spectral_features(spectra: Spectra, scan: OnsetScan) -> SpectralFeatures:
    """Compute the 10 spectral columns.

    Parameters
    ----------
    spectra : Spectra
        Of the track.
    scan : OnsetScan
        Of the track.

    Returns
    -------
    SpectralFeatures
        As the reference's.
    """
    mean_log_mel = spectra.log_mel_db.mean(axis=0)  # the mean first: the DCT is linear
    mfcc = scipy.fft.dct(mean_log_mel, norm="ortho")[:5]
    centroid_hz = np.empty(spectra.frames)
    centroids(spectra.lanes, BIN_HZ, centroid_hz)
    inharmonicity = pitched_inharmonicity(scan.magnitudes)
    return SpectralFeatures(
        **{f"mfcc_{i}_mean": float(value) for i, value in enumerate(mfcc, start=1)},
        spectral_centroid_mean=mean(centroid_hz),
        spectral_centroid_std=std(centroid_hz),
        spectral_contrast_mean=contrast_db(spectra.lanes, spectra.frames),
        inharmonicity_mean=mean(inharmonicity) if len(inharmonicity) else None,
        inharmonicity_std=std(inharmonicity) if len(inharmonicity) else None,
    )


def contrast_db(lanes: NDArray[np.float32], frames: int) -> float:
    """Spectral contrast, mean over bands and frames, in dB."""
    edges, counts = contrast_bands()
    peaks = np.empty((frames, len(edges)))
    valleys = np.empty((frames, len(edges)))
    band_extremes(lanes, edges, counts, peaks, valleys)
    return mean(clipped_db(peaks)) - mean(clipped_db(valleys))


@cache
def contrast_bands() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Octave bands from 200 Hz as librosa cuts them, and 2 % of each band's bins.

    A band shares its lower neighbour's last bin and leaves out its own last one; the highest ends at Nyquist.
    """
    corners_hz = np.array([0, *(200 * 2.0 ** np.arange(7))])
    hz = np.arange(BINS) * BIN_HZ
    first = np.searchsorted(hz, corners_hz[:-1], side="left")
    end = np.searchsorted(hz, corners_hz[1:], side="right")
    first[1:] -= 1
    end[-1] = BINS
    counts = np.maximum(1, np.rint(0.02 * (end - first)).astype(np.int64))
    end[:-1] -= 1
    return np.stack([first, end], axis=1), counts


def pitched_inharmonicity(magnitudes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Inharmonicity of each frame that has a pitch and more than one spectral peak.

    The pitch need not be computed. YIN-FFT [2]_ looks for a minimum of the cumulative mean normalised
    difference from lag 2 to the longest lag and lets both ends count, so it finds one whenever the frame
    has energy; its answer is "no pitch" (0) only in a frame without, and such a frame has no peaks.
    """
    values = np.empty(len(magnitudes))
    first = int(np.ceil(FIRST_PEAK_HZ / BIN_HZ))
    inharmonicities(magnitudes, np.float32(BIN_HZ), first, np.float32(SAMPLE_RATE_HZ / 2), MOST_PEAKS, values)
    return values[values >= 0]
