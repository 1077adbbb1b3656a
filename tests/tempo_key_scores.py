"""How good an answer is: a tempo or a key, against the truth.

Tempo, after Gouyon et al., as the field does: *exact* is within the tolerance of the true tempo ("acc1");
*up to octave* is within it of a third, half, twice or three times the true tempo as well ("acc2"). The
tolerance is relative, 4 % unless said otherwise.

Key: exact, and MIREX's weighted score from mir_eval (1 exact, 0.5 a fifth above, 0.3 the relative key, 0.2
the parallel key).

References
----------
.. [1] Gouyon et al. "An experimental comparison of audio tempo induction algorithms". IEEE Trans. on Audio,
   Speech, and Language Processing 14(5), 2006.
.. [2] Raffel et al. "mir_eval: a transparent implementation of common MIR metrics". ISMIR, 2014.
"""

import math
from collections.abc import Mapping

import mir_eval

TOLERANCE = 0.04
OCTAVES = {"1/3": 1 / 3, "1/2": 1 / 2, "1": 1.0, "2": 2.0, "3": 3.0}
#: Named where they occur, and wrong by both measures.
OTHER_FACTORS = {"2/3": 2 / 3, "3/4": 3 / 4, "4/3": 4 / 3, "3/2": 3 / 2}
NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

Row = Mapping[str, float | None]


def tempo_factor(found_bpm: float | None, bpm: float, tolerance: float = TOLERANCE) -> str:
    """Which multiple of the true tempo was found: one of `OCTAVES`, of `OTHER_FACTORS`, or ``other``."""
    if found_bpm is None:
        return "none"
    for name, factor in (OCTAVES | OTHER_FACTORS).items():
        if abs(found_bpm / (factor * bpm) - 1) <= tolerance:
            return name
    return "other"


def tempi_bpm(row: Row) -> dict[str, float | None]:
    """The three tempi that a feature row gives: the column's or formula's name, and BPM."""
    interval_s = row["beat_interval_mean"]
    return {
        "tempo_bpm": row["tempo_bpm"],
        "60 / beat_interval_mean": None if interval_s is None else 60 / interval_s,
        "bpm_first_peak": row["bpm_first_peak"],
    }


def key_name(tonic: int, minor: bool) -> str:
    """Such as ``Eb minor``; the tonic is in semitones above C."""
    return f"{NAMES[tonic]} {'minor' if minor else 'major'}"


def row_key(row: Row) -> str:
    """The key that a feature row gives, by name; ``X``, mir_eval's word for it, where it gives none."""
    cosine, sine, minor = row["key_cos"], row["key_sin"], row["is_minor"]
    if cosine is None or sine is None or minor is None:
        return "X"
    return key_name(round(math.atan2(sine, cosine) * 6 / math.pi) % 12, minor == 1)


def key_score(found: str, truth: str) -> float:
    return float(mir_eval.key.weighted_score(truth, found))
