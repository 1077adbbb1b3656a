"""Well-formed files whose samples are the trouble."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tools.hostile.case import Case, content
from tools.hostile.sounds import RATE_HZ, music, sndfile

KIND = "signals"
_N = 2 * RATE_HZ


def signals(seed: int) -> Iterator[Case]:
    """Cases of samples, most of them as 32-bit floats, which can be anything."""
    for label, samples in _mono(np.random.default_rng(seed)):
        yield content(KIND, f"{label}.wav", sndfile(samples, "WAV", "FLOAT"))
    sound = music(2.0, seed=seed)
    channels = {
        "anti-phase": [sound, -sound],
        "almost anti-phase": [sound, -0.9999 * sound],
        "anti-phase in pairs": [sound, sound, -sound, -sound],
        "one of two silent": [sound, 0 * sound],
        "infinities that cancel": [np.full(_N, np.inf), np.full(_N, -np.inf)],
        "NaN on one side": [sound, np.full(_N, np.nan)],
        "peaks that cancel": [np.full(_N, 3e38), np.full(_N, -3e38)],
        "sum beyond float": [np.full(_N, 3e38), np.full(_N, 3e38)],
        "32 of them": [sound] * 32,
    }
    for label, sides in channels.items():
        stacked = np.stack([np.asarray(side, np.float32) for side in sides], axis=1)
        yield content(KIND, f"{label}.wav", sndfile(stacked, "WAV", "FLOAT"))
    for rate_hz in (4_000, 4_001, 44_101, 192_000, 384_000):
        yield content(KIND, f"{rate_hz} Hz.wav", sndfile(music(2.0, seed, rate_hz), "WAV", rate_hz=rate_hz))
    for label, n in {
        "1 sample": 1,
        "2 samples": 2,
        "1 s less one": RATE_HZ - 1,
        "1 s": RATE_HZ,
        "none": 0,
    }.items():
        yield content(KIND, f"{label}.flac", sndfile(sound[:n], "FLAC"))
    doubles = {"1e300": 1e300, "5e-324": 5e-324, "-1e300": -1e300, "3.5e38": 3.5e38}
    for label, value in doubles.items():
        yield content(KIND, f"double {label}.wav", sndfile(np.full(_N, value), "WAV", "DOUBLE"))
    for subtype in (
        "PCM_U8",
        "PCM_16",
        "PCM_24",
        "PCM_32",
        "ULAW",
        "ALAW",
        "IMA_ADPCM",
        "MS_ADPCM",
        "GSM610",
    ):
        yield content(KIND, f"full scale {subtype}.wav", sndfile(np.sign(sound - 0.01), "WAV", subtype))


def _mono(rng: np.random.Generator) -> Iterator[tuple[str, NDArray[np.float32]]]:
    def constant(value: float) -> NDArray[np.float32]:
        return np.full(_N, value, np.float32)

    def spoilt(at: int, value: float) -> NDArray[np.float32]:
        samples = music(2.0)
        samples[at] = value
        return samples

    tiny = np.float32(1e-41)
    t = np.arange(_N) / RATE_HZ
    for at, where in ((0, "first"), (_N // 2, "middle"), (_N - 1, "last")):
        for value in (np.nan, np.inf, -np.inf):
            yield f"{where} sample {value}", spoilt(at, value)
    for value in (1e-39, 1e3, 1.0001e3, 1e30, 3.4e38):
        yield f"one sample of {value:g}", spoilt(_N // 2, value)
    for value in (np.nan, np.inf, 0.0, -0.0, 1e-41, 1e-30, 0.5, 1.0, -1.0, 1e3, 3.4e38):
        yield f"all {value:g}", constant(value)
    yield "denormals", (rng.standard_normal(_N) * tiny).astype(np.float32)
    yield "music of denormals", music(2.0) * tiny
    yield "music just silent", music(2.0) * np.float32(0.99e-4 / np.abs(music(2.0)).max())
    yield "music just audible", music(2.0) * np.float32(2.1e-4 / np.ptp(music(2.0)))
    yield "music at the limit", music(2.0) * np.float32(999 / np.abs(music(2.0)).max())
    yield "offset and music", music(2.0) + np.float32(0.5)
    yield "offset of 900 and music", music(2.0) + np.float32(900)
    yield "offset that steps", np.sign(t - 1).astype(np.float32)
    yield "clipped", np.clip(music(2.0) * 100, -1, 1)
    yield "clipped to 2 values", np.sign(rng.standard_normal(_N)).astype(np.float32)
    yield "Nyquist", np.where(np.arange(_N) % 2, 1, -1).astype(np.float32)
    yield "impulse", np.eye(1, _N, _N // 2, dtype=np.float32)[0]
    yield "impulse at once", np.eye(1, _N, 0, dtype=np.float32)[0]
    yield "impulse at the end", np.eye(1, _N, _N - 1, dtype=np.float32)[0]
    yield "impulse every sample but one", 1 - np.eye(1, _N, _N // 2, dtype=np.float32)[0]
    yield "noise", rng.standard_normal(_N).astype(np.float32)
    yield "noise of 1000", np.clip(rng.standard_normal(_N) * 300, -1e3, 1e3).astype(np.float32)
    yield "ramp", np.linspace(-1, 1, _N, dtype=np.float32)
    yield "silence, then music", np.concatenate([constant(0), music(1.0)])
    yield "music, then silence", np.concatenate([music(1.0), constant(0)])
    for frequency_hz in (0.5, 20, 440, 20_000, 22_049):
        yield f"sine of {frequency_hz} Hz", np.sin(2 * np.pi * frequency_hz * t).astype(np.float32)
    yield "chirp", np.sin(2 * np.pi * 5_000 * t**2).astype(np.float32)
    yield (
        "bursts faster than beats",
        (np.sin(2 * np.pi * 3_000 * t) * (np.sin(2 * np.pi * 30 * t) > 0)).astype(np.float32),
    )
    yield "one loud click in faint noise", spoilt(_N // 2, 900) * np.float32(1e-3)
