"""The three families' columns as records, which both extractors fill.

What belongs here: names and order of the columns. What does not: their meaning (`columns`), and how a
value comes about.
"""

from dataclasses import dataclass

Columns = dict[str, float | None]


@dataclass(frozen=True)
class RhythmFeatures:
    """The rhythm columns in contract order; None where a column has no meaning for the track."""

    tempo_bpm: float | None
    onset_strength_mean: float | None
    onset_strength_std: float | None
    beat_interval_mean: float | None
    beat_interval_std: float | None
    beat_interval_cv: float | None
    bpm_first_peak: float | None
    bpm_first_weight: float | None
    bpm_first_spread: float | None
    bpm_second_peak: float | None
    bpm_second_weight: float | None
    bpm_second_spread: float | None
    bpm_peak_ratio: float | None
    bpm_histogram_entropy: float | None
    rhythm_transform_mean: float | None
    rhythm_transform_std: float | None
    rhythm_transform_max: float | None
    rhythm_transform_entropy: float | None
    beats_loudness_mean: float | None
    beats_loudness_std: float | None
    beats_low_ratio: float | None
    beats_mid_ratio: float | None
    beats_high_ratio: float | None


@dataclass(frozen=True)
class SpectralFeatures:
    """The spectral columns in contract order; None where a column has no meaning for the track."""

    mfcc_1_mean: float | None
    mfcc_2_mean: float | None
    mfcc_3_mean: float | None
    mfcc_4_mean: float | None
    mfcc_5_mean: float | None
    spectral_centroid_mean: float | None
    spectral_centroid_std: float | None
    spectral_contrast_mean: float | None
    inharmonicity_mean: float | None
    inharmonicity_std: float | None


@dataclass(frozen=True)
class TonalFeatures:
    """The tonal columns in contract order; None where a column has no meaning for the track."""

    chroma_entropy: float | None
    major_alignment: float | None
    minor_alignment: float | None
    hpcp_0: float | None
    hpcp_1: float | None
    hpcp_2: float | None
    hpcp_3: float | None
    hpcp_4: float | None
    hpcp_5: float | None
    hpcp_6: float | None
    hpcp_7: float | None
    hpcp_8: float | None
    hpcp_9: float | None
    hpcp_10: float | None
    hpcp_11: float | None
    hpcp_entropy: float | None
    hpcp_std: float | None
    hpcp_max: float | None
    hpcp_temporal_std: float | None
    key_strength: float | None
    is_minor: float | None
    key_cos: float | None
    key_sin: float | None
