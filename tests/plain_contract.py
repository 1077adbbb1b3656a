"""The 56 features the plain way: librosa and essentia called one after the other, feature by feature.

This is how the features are defined, and how a notebook computes them: librosa makes its spectrogram anew for
every feature, essentia analyses frame by frame in a Python loop, and the beat tracker runs once for each
of its three users. The results are right (no exception becomes a zero, all twelve keys are known), so it
is also a second oracle beside `audio_assets.features.reference`, from which it takes nothing: the tests' and
what `benchmarks/features.py` measures.

What belongs here: calls of the libraries. What does not: anything that makes them faster.
"""

import ctypes
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audio_assets.features import FEATURE_NAMES

Samples = NDArray[np.float32]
Row = dict[str, float]

RATE_HZ = 44_100
KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def plain_features(samples: Samples) -> Row:
    """All columns of one track, in contract order; mono samples at 44,100 Hz."""
    row = librosa_features(samples) | essentia_features(samples)
    return {name: float(row[name]) for name in FEATURE_NAMES}


def librosa_features(samples: Samples) -> Row:
    """librosa's 14 columns."""
    import librosa

    tempo, _ = librosa.beat.beat_track(y=samples, sr=RATE_HZ)
    strength = librosa.onset.onset_strength(y=samples, sr=RATE_HZ)
    mfcc = librosa.feature.mfcc(y=samples, sr=RATE_HZ, n_mfcc=5).mean(axis=1)
    centroid = librosa.feature.spectral_centroid(y=samples, sr=RATE_HZ)
    contrast = librosa.feature.spectral_contrast(y=samples, sr=RATE_HZ)
    chroma = librosa.feature.chroma_stft(y=samples, sr=RATE_HZ).mean(axis=1)
    return {
        "tempo_bpm": np.ravel(tempo)[0],
        "onset_strength_mean": strength.mean(),
        "onset_strength_std": strength.std(),
        **{f"mfcc_{i}_mean": value for i, value in enumerate(mfcc, start=1)},
        "spectral_centroid_mean": centroid.mean(),
        "spectral_centroid_std": centroid.std(),
        "spectral_contrast_mean": contrast.mean(),
        "chroma_entropy": bits(chroma),
        "major_alignment": chroma[[0, 2, 4, 5, 7, 9, 11]].sum() / chroma.sum(),
        "minor_alignment": chroma[[0, 2, 3, 5, 7, 8, 10]].sum() / chroma.sum(),
    }


def essentia_features(samples: Samples) -> Row:
    """essentia's 42 columns."""
    return {
        **beat_intervals(samples),
        **bpm_histogram(samples),
        **beat_loudness(samples),
        **rhythm_transform(samples),
        **inharmonicity(samples),
        **pitch_classes(samples),
        **key(samples),
    }


def rhythm_extractor(samples: Samples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Beats and the intervals between them, in seconds."""
    from audio_assets.features._essentia import es

    ctypes.CDLL(None).srand(1)  # the tracker dithers with rand(): unseeded, each call may find other beats
    _, beats_s, _, _, intervals_s = es.RhythmExtractor2013(method="multifeature")(samples)
    return beats_s, intervals_s


def beat_intervals(samples: Samples) -> Row:
    _, intervals_s = rhythm_extractor(samples)
    mean, std = intervals_s.mean(), intervals_s.std()
    return {"beat_interval_mean": mean, "beat_interval_std": std, "beat_interval_cv": std / mean}


def bpm_histogram(samples: Samples) -> Row:
    from audio_assets.features._essentia import es

    _, intervals_s = rhythm_extractor(samples)
    *peaks, histogram = es.BpmHistogramDescriptors()(intervals_s)
    names = [f"bpm_{peak}_{what}" for peak in ("first", "second") for what in ("peak", "weight", "spread")]
    return {
        **dict(zip(names, peaks, strict=True)),
        "bpm_peak_ratio": peaks[4] / peaks[1] if peaks[1] else 0.0,
        "bpm_histogram_entropy": bits(histogram),
    }


def beat_loudness(samples: Samples) -> Row:
    from audio_assets.features._essentia import es

    beats_s, _ = rhythm_extractor(samples)
    bands_hz = [20, 150, 400, 3200, 7000, 22_050]
    loudness, ratios = es.BeatsLoudness(beats=beats_s, frequencyBands=bands_hz)(samples)
    return {
        "beats_loudness_mean": loudness.mean(),
        "beats_loudness_std": loudness.std(),
        "beats_low_ratio": (ratios[:, 0] + ratios[:, 1]).mean(),
        "beats_mid_ratio": (ratios[:, 2] + ratios[:, 3]).mean(),
        "beats_high_ratio": ratios[:, 4].mean(),
    }


def rhythm_transform(samples: Samples) -> Row:
    from audio_assets.features._essentia import es

    window, spectrum = es.Windowing(type="hann"), es.Spectrum()
    mel_bands = es.MelBands(numberBands=40, lowFrequencyBound=0, highFrequencyBound=22_050)
    bands = [mel_bands(spectrum(window(frame))) for frame in frames(samples, 2048, 1024)]
    transform = es.RhythmTransform(frameSize=8, hopSize=4)(np.array(bands)).ravel()
    return {
        "rhythm_transform_mean": transform.mean(),
        "rhythm_transform_std": transform.std(),
        "rhythm_transform_max": transform.max(),
        "rhythm_transform_entropy": bits(np.abs(transform)),
    }


def inharmonicity(samples: Samples) -> Row:
    from audio_assets.features._essentia import es

    window, spectrum, pitch = es.Windowing(type="hann"), es.Spectrum(), es.PitchYinFFT(frameSize=2048)
    peaks = es.SpectralPeaks(maxPeaks=50, minFrequency=20, maxFrequency=22_050)
    inharmonicity_of = es.Inharmonicity()
    values = []
    for frame in frames(samples, 2048, 512):
        magnitudes = spectrum(window(frame))
        frequencies_hz, heights = peaks(magnitudes)
        pitch_hz, _ = pitch(magnitudes)
        if pitch_hz > 0 and len(frequencies_hz) > 1:
            values.append(inharmonicity_of(frequencies_hz, heights))
    values = [value for value in values if np.isfinite(value) and value >= 0]
    return {"inharmonicity_mean": np.mean(values), "inharmonicity_std": np.std(values)}


def pitch_classes(samples: Samples) -> Row:
    from audio_assets.features._essentia import es

    window, spectrum = es.Windowing(type="blackmanharris62"), es.Spectrum()
    peaks = es.SpectralPeaks(
        maxPeaks=100, minFrequency=20, maxFrequency=5000, magnitudeThreshold=1e-5, orderBy="magnitude"
    )
    hpcp = es.HPCP(size=12, minFrequency=20, maxFrequency=5000, normalized="unitSum")
    profiles = np.array([hpcp(*peaks(spectrum(window(frame)))) for frame in frames(samples, 4096, 2048)])
    profile = profiles.mean(axis=0)
    return {
        **{f"hpcp_{i}": value for i, value in enumerate(profile)},
        "hpcp_entropy": bits(profile),
        "hpcp_std": profile.std(),
        "hpcp_max": profile.max(),
        "hpcp_temporal_std": profiles.std(axis=0).mean(),
    }


def key(samples: Samples) -> Row:
    from audio_assets.features._essentia import es

    tonic, scale, strength = es.KeyExtractor()(samples)
    angle_rad = KEYS.index(tonic) / 12 * 2 * np.pi
    return {
        "key_strength": strength,
        "is_minor": scale == "minor",
        "key_cos": np.cos(angle_rad),
        "key_sin": np.sin(angle_rad),
    }


def frames(samples: Samples, size: int, hop: int) -> Iterator[Samples]:
    """The frames that lie wholly inside the signal."""
    return (samples[start : start + size] for start in range(0, len(samples) - size + 1, hop))


def bits(weights: ArrayLike) -> float:
    """Entropy of weights normalised to sum 1."""
    shares = np.clip(np.ravel(weights) / np.sum(weights), 1e-12, None)
    return float(-np.sum(shares * np.log2(shares)))
