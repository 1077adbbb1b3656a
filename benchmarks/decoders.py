"""Which library serves which format: the same 30 s in every format, decoded by each, as a Markdown table.

    python benchmarks/decoders.py AUDIO_FILE

The clip is cut from the middle of the file named. Each decoding runs in a process that may crash or hang.
Compared at the file's own rate after mixing to mono:

- CPU: median of `ROUNDS` in one process, after one that is not counted; all threads;
- length: frames more (+) or fewer (-) than were encoded;
- lag: frames by which the decoded clip is late, from the cross-correlation with the source (0: gapless);
- deviation: largest difference from the source and from soundfile's samples, both at lag 0;
- cut, damaged: what becomes of the first half of the file, and of the file with 20 bytes inverted: the length
  that comes out and the share of samples that differ by more than 0.1, an exception, a crash, or the failure
  code of `decode_mono`, whose rows are what the project makes of it all.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_assets.audio import IsolatedPool, decode_mono
from audio_assets.failures import FailureCode, TrackFailure

DURATION_S = 30
ROUNDS = 7
TIMEOUT_S = 60.0
FLIPPED_BYTES = 20
MAX_LAG = 4000
FAR = 0.1

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Job:
    """One file for one library; a single round where only the outcome counts."""

    library: str
    path: Path
    rate_hz: int
    rounds: int = 0


# --- the three libraries, and what the project makes of them ------------------------------------------


def mix(stereo: Samples) -> Samples:
    """Mean of (frames, 2)."""
    return (stereo[:, 0] + stereo[:, 1]) * np.float32(0.5)


def by_soundfile(path: Path, _: int) -> Samples:
    import soundfile

    return mix(soundfile.read(path, dtype="float32", always_2d=True)[0])


def by_pyav(path: Path, _: int) -> Samples:
    import av

    with av.open(str(path)) as container:
        to_float = av.AudioResampler(format="fltp")
        frames = container.decode(container.streams.audio[0])
        blocks = [made.to_ndarray() for frame in frames for made in to_float.resample(frame)]
    return mix(np.concatenate(blocks, axis=1).T)


def by_essentia(path: Path, rate_hz: int) -> Samples:
    import essentia.standard

    return essentia.standard.MonoLoader(filename=str(path), sampleRate=rate_hz)()


def by_project(path: Path, rate_hz: int) -> Samples:
    return decode_mono(path, rate_hz).samples


LIBRARIES: dict[str, Callable[[Path, int], Samples]] = {
    "soundfile": by_soundfile,
    "pyav": by_pyav,
    "essentia": by_essentia,
    "decode_mono": by_project,
}


def decode(job: Job) -> tuple[Samples, float]:
    """Samples and the median of the rounds' CPU milliseconds."""
    function = LIBRARIES[job.library]
    samples = function(job.path, job.rate_hz)
    spent_ms = []
    for _ in range(job.rounds):
        started = time.process_time()
        function(job.path, job.rate_hz)
        spent_ms.append(1e3 * (time.process_time() - started))
    return samples, float(np.median(spent_ms)) if spent_ms else 0.0


# --- the files --------------------------------------------------------------------------------------


def source_clip(path: Path, rate_hz: int) -> Samples:
    """The middle of a file, of shape (frames, 2), at peak 0.8 so that no lossy codec clips it."""
    import soundfile
    import soxr

    samples, own_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    stereo = np.repeat(samples, 2, axis=1)[:, :2] if samples.shape[1] == 1 else samples[:, :2]
    start = max(0, len(stereo) - DURATION_S * own_rate_hz) // 2
    clip = soxr.resample(stereo[start:][: DURATION_S * own_rate_hz], own_rate_hz, rate_hz)
    return clip * np.float32(0.8 / np.abs(clip).max())


def write_by_soundfile(**options: Any) -> Callable[[Path, Samples, int], None]:
    import soundfile

    return lambda path, clip, rate_hz: soundfile.write(path, clip, rate_hz, **options)


def write_aac(container_format: str) -> Callable[[Path, Samples, int], None]:
    def write(path: Path, clip: Samples, rate_hz: int) -> None:
        import av

        with av.open(str(path), "w", format=container_format) as container:
            stream = container.add_stream("aac", rate=rate_hz, layout="stereo", bit_rate=160_000)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(clip.T), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
            container.mux([*stream.encode(frame), *stream.encode(None)])

    return write


def without_xing(write: Callable[[Path, Samples, int], None]) -> Callable[[Path, Samples, int], None]:
    """Drop the first mp3 frame, which is no audio but says how long the file is."""

    def write_and_strip(path: Path, clip: Samples, rate_hz: int) -> None:
        write(path, clip, rate_hz)
        content = path.read_bytes()
        assert b"Xing" in content[:200] or b"Info" in content[:200]
        path.write_bytes(content[content.index(content[:2], 4) :])

    return write_and_strip


CBR_MP3 = write_by_soundfile(format="MP3", bitrate_mode="CONSTANT", compression_level=0.5)
VBR_MP3 = write_by_soundfile(format="MP3", bitrate_mode="VARIABLE", compression_level=0.3)

#: Name, ending, rate in Hz and writer of each format.
FORMATS: list[tuple[str, str, int, Callable[[Path, Samples, int], None]]] = [
    ("wav, 16 bit", "wav", 44_100, write_by_soundfile(subtype="PCM_16")),
    ("wav, 24 bit", "wav", 44_100, write_by_soundfile(subtype="PCM_24")),
    ("wav, float", "wav", 44_100, write_by_soundfile(subtype="FLOAT")),
    ("flac, 16 bit", "flac", 44_100, write_by_soundfile(subtype="PCM_16")),
    ("ogg vorbis", "ogg", 44_100, write_by_soundfile(format="OGG", subtype="VORBIS")),
    ("ogg opus", "opus", 48_000, write_by_soundfile(format="OGG", subtype="OPUS")),
    ("mp3 CBR", "mp3", 44_100, CBR_MP3),
    ("mp3 VBR", "mp3", 44_100, VBR_MP3),
    ("mp3 CBR, no Xing", "mp3", 44_100, without_xing(CBR_MP3)),
    ("mp3 VBR, no Xing", "mp3", 44_100, without_xing(VBR_MP3)),
    ("m4a, aac", "m4a", 44_100, write_aac("mp4")),
    ("aac, bare", "aac", 44_100, write_aac("adts")),
]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def damaged(content: bytes) -> bytes:
    """Invert bytes between 10 % and 90 % of the file, always the same ones."""
    flipped = bytearray(content)
    rng = np.random.default_rng(0)
    for at in rng.integers(len(content) // 10, 9 * len(content) // 10, FLIPPED_BYTES):
        flipped[at] ^= 0xFF
    return bytes(flipped)


# --- the verdicts -----------------------------------------------------------------------------------


def lag_of(samples: Samples, source: Samples) -> int:
    """Frames by which samples are late, within `MAX_LAG`, by ten seconds from the middle."""
    n = min(len(samples), len(source))
    middle = slice(n // 3, 2 * n // 3)
    size = 2 * (middle.stop - middle.start)
    spectrum = np.fft.rfft(samples[middle], size) * np.conj(np.fft.rfft(source[middle], size))
    correlation = np.fft.irfft(spectrum, size)
    lags = np.arange(-MAX_LAG, MAX_LAG + 1)
    return int(lags[np.argmax(correlation[lags])])


def deviation(samples: Samples, other: Samples | None) -> str:
    if other is None:
        return "-"
    n = min(len(samples), len(other))
    return f"{np.abs(samples[:n] - other[:n]).max():.1e}"


def fate(outcome: Any, whole: Samples | None, rate_hz: int) -> str:
    """What a library made of a file that is not whole."""
    if isinstance(outcome, TrackFailure):
        if outcome.code in {FailureCode.WORKER_DIED, FailureCode.TIMED_OUT}:
            return f"**{outcome.message.split(',')[0]}**"
        return "error" if outcome.code == FailureCode.ANALYSIS_FAILED else f"`{outcome.code}`"
    samples = outcome[0]
    told = f"{len(samples) / rate_hz:.2f} s"
    if whole is None:
        return told
    n = min(len(samples), len(whole))
    astray = np.abs(np.nan_to_num(samples[:n], nan=np.inf) - whole[:n]) > FAR
    return f"{told}, {100 * astray.mean():.1f} % off" if astray.any() else told


def rows(folder: Path, audio_file: Path, pool: IsolatedPool) -> Iterator[tuple[str, ...]]:
    def outcome_of(job: Job) -> Any:
        [(_, outcome)] = pool.map_unordered(decode, [job])
        return outcome

    for name, ending, rate_hz, write in FORMATS:
        clip = source_clip(audio_file, rate_hz)
        good, half, bad = (folder / f"{what}.{ending}" for what in ("good", "half", "bad"))
        write(good, clip, rate_hz)
        half.write_bytes(cut(good.read_bytes()))
        bad.write_bytes(damaged(good.read_bytes()))
        source, by_first = clip.mean(axis=1), None
        for library in LIBRARIES:
            outcome = outcome_of(Job(library, good, rate_hz, ROUNDS))
            fates = [outcome_of(Job(library, path, rate_hz)) for path in (half, bad)]
            if isinstance(outcome, TrackFailure):
                yield (
                    name,
                    library,
                    fate(outcome, None, rate_hz),
                    "-",
                    "-",
                    "-",
                    "-",
                    *(fate(f, None, rate_hz) for f in fates),
                )
                continue
            samples, cpu_ms = outcome
            by_first = samples if library == "soundfile" else by_first
            yield (
                *(name, library, f"{cpu_ms:.0f}", f"{len(samples) - len(source):+d}"),
                f"{lag_of(samples, source):+d}",
                *(deviation(samples, source), deviation(samples, by_first)),
                *(fate(f, samples, rate_hz) for f in fates),
            )


def main() -> None:
    titles = (
        "format",
        "library",
        "CPU ms",
        "length",
        "lag",
        "from source",
        "from soundfile",
        "cut",
        "damaged",
    )
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    with (
        tempfile.TemporaryDirectory() as folder,
        IsolatedPool(workers=1, timeout_s=TIMEOUT_S, memory_limit_mb=2000) as pool,
    ):
        for row in rows(Path(folder), Path(sys.argv[1]), pool):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
