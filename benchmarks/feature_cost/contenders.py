"""Who is compared: each from a file to its numbers, with the CPU seconds of decoding and of computing.

What belongs here: one function a contender, called warm and in one thread. What does not: which clips,
how often and in which order (`measure`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from plain_contract import librosa_features, plain_features, rhythm_extractor

from audio_assets.audio import decode_mono
from audio_assets.features import SAMPLE_RATE_HZ, extract_features

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one clip; a contender that is given samples, or decodes by itself, has no `decode_s`."""

    compute_s: float
    decode_s: float = 0.0

    @property
    def whole_s(self) -> float:
        return self.decode_s + self.compute_s


def cpu_s(function: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    started = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - started


def decoded(path: Path) -> NDArray[np.float32]:
    return decode_mono(path, SAMPLE_RATE_HZ).samples


def fast_features(samples: NDArray[np.float32]) -> dict[str, float | None]:
    return extract_features(samples, "fast")


def librosa_load(path: Path) -> NDArray[np.float32]:
    import librosa

    samples: NDArray[np.float32] = librosa.load(path, sr=SAMPLE_RATE_HZ)[0]
    return samples


def ours(path: Path) -> Cost:
    samples, decode_s = cpu_s(decoded, path)
    return Cost(cpu_s(fast_features, samples)[1], decode_s)


def plain(path: Path) -> Cost:
    samples, decode_s = cpu_s(librosa_load, path)
    return Cost(cpu_s(plain_features, samples)[1], decode_s)


def librosa_share(path: Path) -> Cost:
    return Cost(cpu_s(librosa_features, decoded(path))[1])


def new_rhythm_extractor(path: Path) -> Cost:
    return Cost(cpu_s(rhythm_extractor, decoded(path))[1])


def reused_rhythm_extractor(path: Path) -> Cost:
    tracker = _tracker()
    tracker.reset()
    return Cost(cpu_s(tracker, decoded(path))[1])


@cache
def _tracker() -> Any:
    from audio_assets.features._essentia import es

    return es.RhythmExtractor2013(method="multifeature")


def music_extractor(path: Path) -> Cost:
    from audio_assets.features._essentia import es

    return Cost(cpu_s(es.MusicExtractor(), str(path))[1])


Contender = Callable[[Path], Cost]

CONTENDERS: Mapping[str, Contender] = MappingProxyType(
    {
        "ours": ours,
        "plain": plain,
        "rhythmextractor2013": reused_rhythm_extractor,
        "rhythmextractor2013_new": new_rhythm_extractor,
        "musicextractor": music_extractor,
        "librosa": librosa_share,
    }
)
