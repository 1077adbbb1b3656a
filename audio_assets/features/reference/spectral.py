"""Timbre: MFCC, spectral centroid and contrast, inharmonicity.

Task: from mono samples at 44,100 Hz to the 10 spectral columns of CONTRACT §2. Conventions: frequencies in
Hz, contrast in dB, means and population standard deviations over frames. librosa's frames are its
defaults (2048 / 512, centred); essentia's are the whole frames of 2048 / 512.

What does not belong here: checks of the samples (`extract`) and of the values' ranges (`columns`).

References
----------
.. [1] Jiang et al. "Music type classification by spectral contrast feature". ICME, 2002.
.. [2] Brossier. "Automatic annotation of musical audio for interactive applications". PhD thesis, QMUL,
   2006. (PitchYinFFT)
.. [3] Peeters. "A large set of audio features for sound description". IRCAM, 2004. (inharmonicity)
"""

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ, mean, std, whole_frames
from audio_assets.features.records import SpectralFeatures

FRAME_SIZE = 2048
HOP_SIZE = 512


def spectral_features(samples: NDArray[np.float32]) -> SpectralFeatures:
    """Compute the 10 spectral columns.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, finite, at least one second, not silent.

    Returns
    -------
    SpectralFeatures
        The inharmonicity is None for a track without a single pitched frame.
    """
    from audio_assets.features.reference._librosa import librosa

    magnitudes = np.abs(librosa.stft(samples))
    log_mel = librosa.power_to_db(librosa.feature.melspectrogram(S=magnitudes**2, sr=SAMPLE_RATE_HZ))
    mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=5)
    centroid_hz = librosa.feature.spectral_centroid(S=magnitudes, sr=SAMPLE_RATE_HZ)
    contrast_db = librosa.feature.spectral_contrast(S=magnitudes, sr=SAMPLE_RATE_HZ)
    inharmonicity = _inharmonicity(samples)
    return SpectralFeatures(
        **{f"mfcc_{i}_mean": mean(coefficient) for i, coefficient in enumerate(mfcc, start=1)},
        spectral_centroid_mean=mean(centroid_hz),
        spectral_centroid_std=std(centroid_hz),
        spectral_contrast_mean=mean(contrast_db),
        inharmonicity_mean=mean(inharmonicity) if inharmonicity else None,
        inharmonicity_std=std(inharmonicity) if inharmonicity else None,
    )


def _inharmonicity(samples: NDArray[np.float32]) -> list[float]:
    """Inharmonicity of each pitched frame that has more than one spectral peak."""
    from audio_assets.features._essentia import es

    window = es.Windowing(type="hann", size=FRAME_SIZE)
    spectrum_of = es.Spectrum(size=FRAME_SIZE)
    peaks_of = es.SpectralPeaks(maxPeaks=50, minFrequency=20, maxFrequency=SAMPLE_RATE_HZ / 2)
    pitch_of = es.PitchYinFFT(frameSize=FRAME_SIZE, sampleRate=SAMPLE_RATE_HZ)
    inharmonicity_of = es.Inharmonicity()
    values = []
    for frame in whole_frames(samples, FRAME_SIZE, HOP_SIZE):
        spectrum = spectrum_of(window(frame))
        frequencies_hz, magnitudes = peaks_of(spectrum)
        pitch_hz, _ = pitch_of(spectrum)
        if pitch_hz > 0 and len(frequencies_hz) > 1:
            values.append(inharmonicity_of(frequencies_hz, magnitudes))
    return [value for value in values if np.isfinite(value) and value >= 0]
