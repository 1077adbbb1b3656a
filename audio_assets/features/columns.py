"""The 56 feature columns: names in contract order, meaning, unit and the range no correct value leaves.

What belongs here: what a reader of the table or a data check must know of a column. What does not: how a
value is computed. Bounds follow from a definition (an entropy of 12 bins, a share, a frequency below
Nyquist) and never from what is usual in music; None means that the definition sets no bound.
"""

import math
from dataclasses import dataclass
from typing import Literal

Family = Literal["rhythm", "spectral", "tonal"]

#: Room for float32 rounding at a bound that values do reach.
ROUNDING = 1e-6

SHARE_MAX = 1 + ROUNDING
ENTROPY_12_MAX = math.log2(12) + ROUNDING
NYQUIST_HZ = 22_050.0

#: Standard deviation of twelve shares of which one is 1, the most uneven there is.
ONE_HOT_STD = math.sqrt(11) / 12

CHROMA_BINS = "chroma bin 0 is C"
HPCP_BINS = "bin 0 is A, reference 440 Hz"
HPCP_NOTES = ("A", "A#/Bb", "B", "C", "C#/Db", "D", "D#/Eb", "E", "F", "F#/Gb", "G", "G#/Ab")


@dataclass(frozen=True)
class Feature:
    """One column of the feature table.

    Parameters
    ----------
    name : str
        Column name.
    family : {'rhythm', 'spectral', 'tonal'}
        The module that computes it.
    unit : str
        Unit, ``"1"`` where the value has none.
    description : str
        One line for people; used as the column's comment in SQL.
    lower, upper : float or None
        Inclusive bounds that follow from the definition; None where there is none.
    """

    name: str
    family: Family
    unit: str
    description: str
    lower: float | None = None
    upper: float | None = None

    def allows(self, value: float | None) -> bool:
        """Whether the definition allows a value; None, no value, is always allowed."""
        if value is None:
            return True
        return (self.lower is None or value >= self.lower) and (self.upper is None or value <= self.upper)


#: Name, unit, description, lower, upper.
Row = tuple[str, str, str, float | None, float | None]


def _features(family: Family, rows: list[Row]) -> tuple[Feature, ...]:
    return tuple(
        Feature(name, family, unit, description, lower, upper)
        for name, unit, description, lower, upper in rows
    )


def _rhythm() -> tuple[Feature, ...]:
    peak = "BPM histogram (bins of 1 BPM, 0-249), {} peak: {}"
    second = "; 0 = the histogram has one peak only"
    transform = "rhythm transform of 40 mel bands, {} over all values"
    loudness = "energy at the beats, {}"
    ratio = "share of a beat's energy in {}, mean over beats (bands overlap; a silent beat counts as 0)"
    rows: list[Row] = [
        ("tempo_bpm", "BPM", "tempo, librosa beat_track; NULL = no onset found", 0, 320),
        ("onset_strength_mean", "dB", "onset strength (mel flux), mean over frames", 0, None),
        ("onset_strength_std", "dB", "onset strength (mel flux), standard deviation over frames", 0, None),
        ("beat_interval_mean", "s", "time between beats, mean; NULL = fewer than two beats", 0, None),
        ("beat_interval_std", "s", "time between beats, standard deviation", 0, None),
        ("beat_interval_cv", "1", "time between beats, standard deviation / mean", 0, None),
        ("bpm_first_peak", "BPM", peak.format("highest", "tempo"), 0, 249),
        ("bpm_first_weight", "1", peak.format("highest", "share of the intervals"), 0, SHARE_MAX),
        ("bpm_first_spread", "1", peak.format("highest", "spread"), 0, SHARE_MAX),
        ("bpm_second_peak", "BPM", peak.format("second", "tempo") + second, 0, 249),
        ("bpm_second_weight", "1", peak.format("second", "share of the intervals") + second, 0, SHARE_MAX),
        ("bpm_second_spread", "1", peak.format("second", "spread") + second, 0, SHARE_MAX),
        (
            "bpm_peak_ratio",
            "1",
            "weight of the second BPM peak / weight of the highest; may exceed 1",
            0,
            None,
        ),
        ("bpm_histogram_entropy", "bit", "entropy of the BPM histogram", 0, math.log2(250) + ROUNDING),
        ("rhythm_transform_mean", "1", transform.format("mean"), 0, None),
        ("rhythm_transform_std", "1", transform.format("standard deviation"), 0, None),
        ("rhythm_transform_max", "1", transform.format("maximum"), 0, None),
        ("rhythm_transform_entropy", "bit", transform.format("entropy"), 0, None),
        (
            "beats_loudness_mean",
            "1",
            loudness.format("mean over beats; NULL = fewer than two beats"),
            0,
            None,
        ),
        ("beats_loudness_std", "1", loudness.format("standard deviation over beats"), 0, None),
        ("beats_low_ratio", "1", ratio.format("20-400 Hz (two bands added)"), 0, 2 * SHARE_MAX),
        ("beats_mid_ratio", "1", ratio.format("400-7000 Hz (two bands added)"), 0, 2 * SHARE_MAX),
        ("beats_high_ratio", "1", ratio.format("7000-22050 Hz"), 0, SHARE_MAX),
    ]
    return _features("rhythm", rows)


def _spectral() -> tuple[Feature, ...]:
    inharmonicity = "deviation of the partials from multiples of the first peak (0-1), pitched frames: {}"
    centroid = "spectral centroid, {} over frames"
    rows: list[Row] = [
        *(
            (f"mfcc_{i}_mean", "dB", f"MFCC coefficient {i} of 5 (1 = level), mean over frames", None, None)
            for i in range(1, 6)
        ),
        ("spectral_centroid_mean", "Hz", centroid.format("mean"), 0, NYQUIST_HZ),
        ("spectral_centroid_std", "Hz", centroid.format("standard deviation"), 0, NYQUIST_HZ / 2),
        ("spectral_contrast_mean", "dB", "spectral contrast, mean over 7 bands and frames", 0, None),
        ("inharmonicity_mean", "1", inharmonicity.format("mean; NULL = no pitched frame"), 0, SHARE_MAX),
        ("inharmonicity_std", "1", inharmonicity.format("standard deviation"), 0, SHARE_MAX / 2),
    ]
    return _features("spectral", rows)


def _tonal() -> tuple[Feature, ...]:
    aligned = "share of the mean chroma on the degrees of the natural {} scale on C"
    hpcp = f"of the mean harmonic pitch class profile ({HPCP_BINS})"
    rows: list[Row] = [
        ("chroma_entropy", "bit", f"entropy of the mean chroma ({CHROMA_BINS})", 0, ENTROPY_12_MAX),
        ("major_alignment", "1", aligned.format("major"), 0, SHARE_MAX),
        ("minor_alignment", "1", aligned.format("minor"), 0, SHARE_MAX),
        *(
            (f"hpcp_{i}", "1", f"mean harmonic pitch class profile, note {note} ({HPCP_BINS})", 0, SHARE_MAX)
            for i, note in enumerate(HPCP_NOTES)
        ),
        ("hpcp_entropy", "bit", f"entropy {hpcp}", 0, ENTROPY_12_MAX),
        ("hpcp_std", "1", f"standard deviation {hpcp}", 0, ONE_HOT_STD + ROUNDING),
        ("hpcp_max", "1", f"largest bin {hpcp}", 0, SHARE_MAX),
        ("hpcp_temporal_std", "1", "HPCP: standard deviation over time, mean over bins", 0, SHARE_MAX / 2),
        ("key_strength", "1", "correlation with the key profile; NULL = no tonal content", 0, SHARE_MAX),
        ("is_minor", "1", "1 = minor key, 0 = major key", 0, 1),
        ("key_cos", "1", "cosine of the key's angle: semitones above C / 12 turns (C = angle 0)", -1, 1),
        ("key_sin", "1", "sine of the key's angle: semitones above C / 12 turns (C = angle 0)", -1, 1),
    ]
    return _features("tonal", rows)


#: Every feature column in contract order.
FEATURES: tuple[Feature, ...] = (*_rhythm(), *_spectral(), *_tonal())

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
