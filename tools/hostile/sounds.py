"""Good files of every format: what the bad ones are made of, and the neighbours that must not suffer."""

import tempfile
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.hostile.ogg import renumbered

Samples = NDArray[Any]

RATE_HZ = 44_100


def music(duration_s: float = 1.6, seed: int = 0, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Chords over clicks: mono, something for every feature to measure."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(duration_s * rate_hz)) / rate_hz
    root_hz = 220.0 * 2 ** (int(rng.integers(12)) / 12)
    ratios = np.array([[1.0], [1.26], [1.5], [2.0]])
    samples = (0.12 * np.sin(2 * np.pi * root_hz * ratios * t)).sum(axis=0)
    for start_s in np.arange(0.05, duration_s - 0.1, 0.25):
        at, n = int(start_s * rate_hz), int(0.05 * rate_hz)
        click = rng.standard_normal(n) * np.exp(-np.arange(n) / (0.01 * rate_hz))
        samples[at : at + n] += 0.3 * click[: samples.size - at]
    return np.asarray(samples, dtype=np.float32)


def sndfile(samples: Samples, format: str, subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    """Encode with libsndfile."""
    import soundfile

    file = BytesIO()
    soundfile.write(file, samples, rate_hz, format=format, subtype=subtype)
    # libsndfile draws the number of an Ogg stream by lot.
    return renumbered(file.getvalue()) if format == "OGG" else file.getvalue()


def ffmpeg(samples: NDArray[np.float32], format: str, codec: str, rate_hz: int = RATE_HZ) -> bytes:
    """Encode mono with FFmpeg."""
    import av

    options = {"fflags": "+bitexact", **({"movflags": "faststart"} if format == "mp4" else {})}
    with (
        tempfile.NamedTemporaryFile() as file,  # faststart opens it again, by its name
        av.open(file.name, "w", format=format, options=options) as container,
    ):
        stream: Any = container.add_stream(codec, rate=rate_hz, layout="mono", bit_rate=96_000)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        fitting = av.AudioResampler(stream.format, "mono", rate_hz, stream.codec_context.frame_size or None)
        for piece in [*fitting.resample(frame), *fitting.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
        container.close()
        return Path(file.name).read_bytes()


#: Suffix and encoder of each format that something here can write.
FORMATS: dict[str, tuple[str, Callable[[NDArray[np.float32]], bytes]]] = {
    "wav": (".wav", lambda sound: sndfile(sound, "WAV")),
    "wav24": (".wav", lambda sound: sndfile(sound, "WAVEX", "PCM_24")),
    "wavfloat": (".wav", lambda sound: sndfile(sound, "WAV", "FLOAT")),
    "rf64": (".wav", lambda sound: sndfile(sound, "RF64")),
    "w64": (".wav", lambda sound: sndfile(sound, "W64")),
    "aiff": (".aiff", lambda sound: sndfile(sound, "AIFF")),
    "caf": (".caf", lambda sound: sndfile(sound, "CAF")),
    "au": (".au", lambda sound: sndfile(sound, "AU")),
    "flac": (".flac", lambda sound: sndfile(sound, "FLAC")),
    "vorbis": (".ogg", lambda sound: sndfile(sound, "OGG", "VORBIS")),
    "opus": (".opus", lambda sound: sndfile(sound, "OGG", "OPUS", 48_000)),
    "mp3": (".mp3", lambda sound: sndfile(sound, "MP3")),
    "m4a": (".m4a", lambda sound: ffmpeg(sound, "mp4", "aac")),
    "alac": (".mp4", lambda sound: ffmpeg(sound, "mp4", "alac")),
    "aac": (".aac", lambda sound: ffmpeg(sound, "adts", "aac")),
    "mka": (".mka", lambda sound: ffmpeg(sound, "matroska", "flac")),
    "webm": (".webm", lambda sound: ffmpeg(sound, "webm", "libopus", 48_000)),
    "wma": (".wma", lambda sound: ffmpeg(sound, "asf", "wmav2")),
    "tta": (".tta", lambda sound: ffmpeg(sound, "tta", "tta")),
    "wv": (".wv", lambda sound: ffmpeg(sound, "wv", "wavpack")),
}


def encode(format: str, sound: NDArray[np.float32]) -> bytes:
    """Bytes of a good file."""
    return FORMATS[format][1](sound)
