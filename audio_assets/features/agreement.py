"""How near two extractors' values must be to count as the same: doctor, tests and benchmarks ask here.

What belongs here: the tolerances, and the comparison of one value. What does not: which tracks are compared,
and what follows from a deviation.
"""

#: A deviation below it is none: float32 of a share of 1.
ABSOLUTE_TOLERANCE = 1e-7

#: Decisions, which are the same or not; the angle of a key is one.
DECISIONS = ("tempo_bpm", "is_minor", "key_cos", "key_sin")


def relative_tolerance(column: str) -> float:
    """Largest deviation, relative to the reference, that is no concern; docs/features.md has what occurs.

    The inharmonicity is relative to a frame's lowest peak, however faint, and so less exact than the rest.
    """
    return 5e-4 if column.startswith("inharmonicity") else 1e-5


def agrees(column: str, value: float | None, reference: float | None) -> bool:
    """Tell whether a column's value is the reference's, up to rounding."""
    if value is None or reference is None:
        return value is reference
    if column in DECISIONS:
        return abs(value - reference) < 1e-9
    return abs(value - reference) <= max(relative_tolerance(column) * abs(reference), ABSOLUTE_TOLERANCE)
