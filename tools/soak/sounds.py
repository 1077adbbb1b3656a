"""Tiny audio files, good and bad, and what is known of each by how it was made."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_assets.failures import FailureCode

Samples = npt.NDArray[np.float32]

#: Suffix, libsndfile's format and subtype.
_FORMATS = (
    (".wav", "WAV", "PCM_16"),
    (".wav", "WAV", "FLOAT"),
    (".flac", "FLAC", "PCM_16"),
    (".ogg", "OGG", "VORBIS"),
    (".mp3", "MP3", "MPEG_LAYER_III"),
)
_RATES_HZ = (22_050, 44_100, 48_000)
_SHARE_OF_BAD = 0.15


@dataclass(frozen=True)
class Sound:
    """A file's bytes.

    Parameters
    ----------
    content : bytes
        The file.
    suffix : str
        Ending of its name.
    failures : frozenset of FailureCode or None
        Reasons one of which there must be; empty for a good file, None where it is for the decoders to say.
    """

    content: bytes
    suffix: str
    failures: frozenset[FailureCode] | None = frozenset()


def make_sound(rng: np.random.Generator) -> Sound:
    """Make a file of any kind, no two alike; one in seven is bad."""
    if rng.random() >= _SHARE_OF_BAD:
        return good_sound(rng)
    makers = (_silent, _short, _cut, _not_finite, _absurd, _no_audio, _empty)
    return makers[rng.integers(len(makers))](rng)


def good_sound(rng: np.random.Generator) -> Sound:
    """Make one and a half to four seconds of notes over a pulse."""
    suffix, file_format, subtype = _FORMATS[rng.integers(len(_FORMATS))]
    rate_hz = int(rng.choice(_RATES_HZ))
    return Sound(_encode(_music(rng, rng.uniform(1.5, 4), rate_hz), rate_hz, file_format, subtype), suffix)


def _silent(rng: np.random.Generator) -> Sound:
    samples = np.full((int(rng.uniform(1.5, 3) * 44_100), 1), 1e-5, dtype=np.float32)
    return Sound(_encode(samples, 44_100, "WAV", "FLOAT"), ".wav", frozenset({FailureCode.SILENT}))


def _short(rng: np.random.Generator) -> Sound:
    samples = _music(rng, rng.uniform(0.2, 0.9), 44_100)
    return Sound(_encode(samples, 44_100, "FLAC", "PCM_16"), ".flac", frozenset({FailureCode.TOO_SHORT}))


def _cut(rng: np.random.Generator) -> Sound:
    samples = _music(rng, 4, 44_100)
    file_format, subtype, suffix = (("WAV", "PCM_16", ".wav"), ("OGG", "VORBIS", ".ogg"))[rng.integers(2)]
    whole = _encode(samples, 44_100, file_format, subtype)
    return Sound(
        whole[: int(rng.uniform(0.5, 0.9) * len(whole))],
        suffix,
        frozenset({FailureCode.TRUNCATED, FailureCode.UNDECODABLE}),
    )


def _not_finite(rng: np.random.Generator) -> Sound:
    samples = _music(rng, 2, 44_100)
    samples[rng.integers(len(samples))] = np.nan
    return Sound(_encode(samples, 44_100, "WAV", "FLOAT"), ".wav", frozenset({FailureCode.NON_FINITE_AUDIO}))


def _absurd(rng: np.random.Generator) -> Sound:
    samples = 1e6 * _music(rng, 2, 44_100)
    return Sound(_encode(samples, 44_100, "WAV", "FLOAT"), ".wav", frozenset({FailureCode.ABSURD_AMPLITUDE}))


def _no_audio(rng: np.random.Generator) -> Sound:
    text = f"This is no audio. {rng.integers(2**62)}\n".encode()
    return Sound(text * 20, ".flac", frozenset({FailureCode.UNDECODABLE}))


def _empty(_: np.random.Generator) -> Sound:
    return Sound(b"", ".mp3", frozenset({FailureCode.EMPTY_FILE}))


def _music(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Samples:
    """Shape (n, channels)."""
    t = np.arange(int(duration_s * rate_hz)) / rate_hz
    samples = 1e-3 * rng.standard_normal(len(t))
    for note_hz in 220 * 2 ** (rng.integers(0, 24, 3) / 12):
        for partial in range(1, 5):
            samples += 0.1 / partial * np.sin(2 * np.pi * partial * note_hz * t + rng.uniform(0, 6))
    pulse_s = rng.uniform(0.25, 0.6)
    samples *= np.exp(-4 * (t % pulse_s))
    channels = rng.integers(1, 3)
    gains = rng.uniform(0.5, 1, channels)
    return (samples[:, None] * gains).astype(np.float32)


def _encode(samples: Samples, rate_hz: int, file_format: str, subtype: str) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=file_format, subtype=subtype)
    return file.getvalue()
