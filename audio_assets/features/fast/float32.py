"""Numbers, sums and densities in float32, rounded as the reference rounds them: beats hang on the last bits.

What belongs here: what more than one of the beat tracker's modules needs. What does not: its steps.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from audio_assets.features.fast._compiled import kernel, subroutine

ZERO = np.float32(0)

ONE = np.float32(1)

EPSILON = np.float32(np.finfo(np.float32).eps)


@subroutine
def add_weighted(total, values, weight):  # type: ignore[no-untyped-def]
    """Add weight · values to `total`, in place."""
    for k in range(total.shape[0]):
        total[k] += values[k] * weight


@kernel
def normalize_sum(values):  # type: ignore[no-untyped-def]
    """Divide non-negative values by their sum, in place; zeros stay."""
    total = ZERO
    for i in range(values.shape[0]):
        total += values[i]
    if total != ZERO:
        for i in range(values.shape[0]):
            values[i] /= total


@cache
def rayleigh(periods: int) -> NDArray[np.float32]:
    """Tempo preference: Rayleigh density of the period with its peak at 43 frames (120 BPM)."""
    period = np.arange(1, periods + 1)
    return (period / 43**2 * np.exp(-0.5 * period**2 / 43**2)).astype(np.float32)


def gaussian_density(deviation: float, step: float, scale: float) -> NDArray[np.float32]:
    """Sample a normal density at multiples of a step, four deviations to either side, as float32 does."""
    half = int(np.ceil(np.float32(4) * np.float32(deviation) / np.float32(step)))
    offset = np.arange(-half, half + 1).astype(np.float32) * np.float32(step)
    height = np.float32(1 / (np.float64(deviation) * np.sqrt(2 * np.pi)))
    spread = np.float32(-2 * np.float64(deviation) ** 2)
    exponent = offset.astype(np.float64) ** 2 / np.float64(spread)
    density = (np.float64(height) * np.exp(exponent) * np.float64(np.float32(scale))).astype(np.float32)
    density[density < 1e-12] = 0
    return density
