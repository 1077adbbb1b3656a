"""The music that is measured: one long programme made from a folder, and the clips that are cut from it.

What belongs here: finding and joining pieces, cutting, writing wav and ogg. What does not: decoding that is
measured (`contenders`).
"""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE_HZ = 44_100
PROGRAMME_S = 3600
#: Below it a file is a sound effect.
SHORTEST_PIECE_S = 10
#: libsndfile's Vorbis encoder overflows its stack when it gets minutes at once.
BLOCK_FRAMES = 2**18


def write_programme(folder: Path, target: Path) -> int:
    """Join the folder's music to one hour of 16-bit stereo wav, from the start again where it is shorter.

    Returns
    -------
    int
        Number of pieces in use.
    """
    pieces = [path for path in sorted(folder.rglob("*")) if is_music(path)]
    if not pieces:
        raise SystemExit(f"no music in {folder}: wav, flac, ogg or mp3 of at least {SHORTEST_PIECE_S} s")
    used, missing = set(), PROGRAMME_S * RATE_HZ
    with soundfile.SoundFile(target, "w", RATE_HZ, channels=2, subtype="PCM_16") as programme:
        for path in cycle(pieces):
            samples = stereo(path)[:missing]
            programme.write(samples)
            used.add(path)
            missing -= len(samples)
            if not missing:
                return len(used)
    raise AssertionError("the cycle ends by its return")


def is_music(path: Path) -> bool:
    if path.suffix.lower() not in {".wav", ".flac", ".ogg", ".mp3"}:
        return False
    try:
        return bool(soundfile.info(path).duration >= SHORTEST_PIECE_S)
    except soundfile.LibsndfileError:
        return False


def stereo(path: Path) -> NDArray[np.float32]:
    """A piece at 44.1 kHz, shape (n, 2)."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    samples = np.broadcast_to(samples[:, :2], (len(samples), 2))
    resampled: NDArray[np.float32] = soxr.resample(samples, rate_hz, RATE_HZ)
    return resampled


def cut(programme: Path, target: Path, start_s: float, length_s: float) -> Path:
    """Write a part of the programme in the format that the target's suffix names."""
    with (
        soundfile.SoundFile(programme) as source,
        soundfile.SoundFile(target, "w", RATE_HZ, channels=2) as clip,
    ):
        source.seek(round(start_s * RATE_HZ))
        for block in source.blocks(BLOCK_FRAMES, frames=round(length_s * RATE_HZ), dtype="float32"):
            clip.write(block)
    return target


def spread(programme: Path, count: int, length_s: float, suffix: str) -> list[Path]:
    """Clips of one length from all over the programme, written beside it."""
    starts_s = np.linspace(0, PROGRAMME_S - length_s, count + 2)[1:-1]
    return list(cuts(programme, starts_s, length_s, suffix))


def cuts(programme: Path, starts_s: NDArray[np.float64], length_s: float, suffix: str) -> Iterator[Path]:
    for start_s in starts_s:
        target = programme.with_name(f"{length_s:.0f}s_at_{start_s:.0f}s{suffix}")
        yield cut(programme, target, start_s, length_s)
