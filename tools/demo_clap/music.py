"""Synthesised tracks that are described in full, and which of them a model may learn from.

What belongs here: the attributes, the split of their combinations, and the samples of one track. What
does not: how the synthesiser sounds (`audio_assets.demo.synthesiser`), and words (`captions`).
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from itertools import product
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from audio_assets.demo.synthesiser import INSTRUMENTS, SCALES, TOUCHES, Dynamics, Mode, Score, render

SAMPLE_RATE_HZ = 48_000
#: Quarter notes a minute, from and up to.
TEMPI: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"slow": (62.0, 88.0), "moderate": (88.0, 124.0), "fast": (124.0, 176.0)}
)
#: Octaves above the usual place of chords and melody.
REGISTERS: Mapping[str, int] = MappingProxyType({"low": -1, "middle": 0, "high": 1})
_COMPINGS = ((0.0,), (0.0, 2.0), (0.0, 1.0, 2.0, 3.0), (0.0, 1.5, 2.0, 3.5), (0.0, 1.0, 2.0, 3.0, 3.5))
_DRUM_GAINS = (0.5, 1.2)
_SPLIT_SEED = 0
N_TEST, N_VALIDATION = 288, 72


@dataclass(frozen=True)
class Description:
    """All that a caption may say of a track.

    Parameters
    ----------
    family : str
        A key of the synthesiser's ``INSTRUMENTS``.
    tempo : str
        A key of `TEMPI`.
    register : str
        A key of `REGISTERS`.
    dynamics : {"soft", "medium", "loud"}
        How hard the band plays.
    mode : {"major", "minor"}
        Mode of the key.
    drums : bool
        Whether there are any.
    """

    family: str
    tempo: str
    register: str
    dynamics: Dynamics
    mode: Mode
    drums: bool


@dataclass(frozen=True)
class Split:
    """Combinations of attributes to learn from, to choose a recipe by, and to report on; no two overlap."""

    training: tuple[Description, ...]
    validation: tuple[Description, ...]
    test: tuple[Description, ...]


def split_combinations() -> Split:
    """Deal out all 864 combinations; the same every time.

    Returns
    -------
    Split
        504 to train on, 72 to validate and 288 to test on, which training never hears in any take.
    """
    combinations = [
        Description(*values)
        for values in product(INSTRUMENTS, TEMPI, REGISTERS, TOUCHES, SCALES, (False, True))
    ]
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(combinations))
    dealt = [combinations[i] for i in order]
    held_out = N_TEST + N_VALIDATION
    return Split(tuple(dealt[held_out:]), tuple(dealt[N_TEST:held_out]), tuple(dealt[:N_TEST]))


def play(description: Description, take: int) -> npt.NDArray[np.float32]:
    """Synthesise one track.

    Parameters
    ----------
    description : Description
        What it is to sound like.
    take : int
        Another take is another piece in another key, with its own tempo inside the described range.

    Returns
    -------
    ndarray, shape (n_samples,), float32
        Mono at 48 kHz, 12 to 19 seconds.
    """
    rng = np.random.default_rng([take, *"/".join(map(str, astuple(description))).encode()])
    slowest, fastest = TEMPI[description.tempo]
    score = Score(
        tempo_bpm=float(slowest * (fastest / slowest) ** rng.random()),
        tonic=int(rng.integers(12)),
        mode=description.mode,
        instrument=description.family,
        comping=_COMPINGS[rng.integers(len(_COMPINGS))],
        drum_gain=float(rng.uniform(*_DRUM_GAINS)) if description.drums else 0.0,
        octave=REGISTERS[description.register],
        dynamics=description.dynamics,
    )
    mono: npt.NDArray[np.float32] = render(score, SAMPLE_RATE_HZ, rng).mean(axis=1)
    return mono
