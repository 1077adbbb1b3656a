"""Bytes to mono samples: decode block by block, mix down, resample, and refuse what is no music.

What belongs here: the path from a file to samples and the verdicts that need the samples (cut short, silent,
NaN). What does not: the header's own limits (`header`) and what is computed from samples. A decoder may
still crash or hang on a hostile file, so run this inside `pool.IsolatedPool`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio_assets.audio.header import (
    DEFAULT_LIMITS,
    AudioHeader,
    AudioLimits,
    Decoder,
    open_ffmpeg,
    open_sndfile,
    probe,
    refuse_duration,
)
from audio_assets.audio.resample import ResampledTrack
from audio_assets.failures import FailureCode, TrackFailure

#: Frames read at once: 6 s at 44.1 kHz, so a header that lies about the length costs no memory.
BLOCK_FRAMES = 2**18

#: FFmpeg's own frames, of 1024 samples or so, cost more to handle one by one than to decode.
FFMPEG_BLOCK_FRAMES = 2**14

#: A track counts as cut when it is shorter than declared by more than both of these.
MISSING_S = 0.1
MISSING_SHARE = 0.02

#: An Ogg page is at most 65,307 bytes: the last one starts within this distance from the end.
OGG_TAIL_BYTES = 2**17
OGG_END_OF_STREAM = 0x04


@dataclass(frozen=True)
class DecodedAudio:
    """A whole track as mono samples, and how they came about.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mean over channels, at `rate_hz`.
    rate_hz : int
        Sample rate of `samples`, in Hz.
    decoder : {'soundfile', 'pyav'}
        Which library decoded the file.
    declared_duration_s : float or None
        Length in seconds that the file states.
    decoded_duration_s : float
        Length in seconds that came out, at the source's rate.
    source_rate_hz, channels : int
        Of the file.
    """

    samples: NDArray[np.float32]
    rate_hz: int
    decoder: Decoder
    declared_duration_s: float | None
    decoded_duration_s: float
    source_rate_hz: int
    channels: int


def decode_mono(path: Path, rate_hz: int, limits: AudioLimits = DEFAULT_LIMITS) -> DecodedAudio:
    """Decode a whole file to mono at one sample rate.

    Equal bit for bit to ``librosa.load(path, sr=rate_hz)`` where libsndfile decodes: mean over channels,
    then soxr in high quality.

    Parameters
    ----------
    path : Path
        A file on disk.
    rate_hz : int
        Sample rate of the result, in Hz.
    limits : AudioLimits
        What the file must keep.

    Returns
    -------
    DecodedAudio

    Raises
    ------
    TrackFailure
        What `probe` raises, and TRUNCATED, UNDECODABLE, TOO_SHORT, TOO_LONG, NON_FINITE_AUDIO,
        ABSURD_AMPLITUDE, SILENT by the samples.
    """
    header = probe(path, limits)
    sound = _Sound(header.sample_rate_hz, limits)
    track = ResampledTrack(header.sample_rate_hz, rate_hz)
    for block in _sndfile_blocks(path) if header.decoder == "soundfile" else _ffmpeg_blocks(path, header):
        mono = _mix(block)
        sound.hear(mono)
        track.append(mono)
    if not sound.frames:
        raise TrackFailure(FailureCode.UNDECODABLE, "the file holds no samples")
    duration_s = sound.frames / header.sample_rate_hz
    _refuse_cut(path, header, duration_s)
    refuse_duration(duration_s, limits)
    sound.refuse_silence()
    return DecodedAudio(
        samples=track.finish(),
        rate_hz=rate_hz,
        decoder=header.decoder,
        declared_duration_s=header.declared_duration_s,
        decoded_duration_s=duration_s,
        source_rate_hz=header.sample_rate_hz,
        channels=header.channels,
    )


class _Sound:
    """What has been heard of a track so far, block by block, so that it need not be kept."""

    def __init__(self, rate_hz: int, limits: AudioLimits) -> None:
        self._limits = limits
        self._max_frames = limits.max_duration_s * rate_hz
        self._lowest, self._highest = math.inf, -math.inf
        self.frames = 0

    def hear(self, mono: NDArray[np.float32]) -> None:
        """Count a block and refuse what no later one can mend."""
        lowest, highest = float(mono.min()), float(mono.max())  # both NaN where any sample is
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise TrackFailure(FailureCode.NON_FINITE_AUDIO, "the samples hold NaN or infinity")
        peak, limit = max(-lowest, highest), self._limits.max_peak
        if peak > limit:
            raise TrackFailure(FailureCode.ABSURD_AMPLITUDE, f"peak {peak:.3g}, limit {limit:g}")
        self._lowest, self._highest = min(self._lowest, lowest), max(self._highest, highest)
        self.frames += len(mono)
        if self.frames > self._max_frames:
            raise TrackFailure(FailureCode.TOO_LONG, f"longer than {self._limits.max_duration_s:g} s")

    def refuse_silence(self) -> None:
        half_span, limit = (self._highest - self._lowest) / 2, self._limits.silence_peak
        if half_span < limit:
            raise TrackFailure(FailureCode.SILENT, f"half span {half_span:.3g}, limit {limit:g}")


def _mix(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over channels of (frames, channels); for stereo twenty times as fast, to the same bits."""
    if block.shape[1] == 2:
        return (block[:, 0] + block[:, 1]) * np.float32(0.5)
    mono: NDArray[np.float32] = block.mean(axis=1)
    return mono


def _sndfile_blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    """Blocks of shape (frames, channels)."""
    import soundfile

    try:
        with open_sndfile(path) as sound:
            while len(block := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                yield block
    except soundfile.LibsndfileError as error:
        raise TrackFailure(FailureCode.UNDECODABLE, f"libsndfile gave up: {error.error_string}") from error


def _ffmpeg_blocks(path: Path, header: AudioHeader) -> Iterator[NDArray[np.float32]]:
    """Blocks of shape (frames, channels)."""
    import av

    expected = header.sample_rate_hz, header.channels
    to_float = av.AudioResampler(format="fltp", frame_size=FFMPEG_BLOCK_FRAMES)
    try:
        with open_ffmpeg(path) as container:
            for frame in chain(container.decode(container.streams.audio[0]), [None]):
                if frame and (frame.sample_rate, frame.layout.nb_channels) != expected:
                    raise TrackFailure(FailureCode.UNDECODABLE, "rate or channels change within the file")
                for converted in to_float.resample(frame):  # None flushes
                    yield converted.to_ndarray().T.astype(np.float32, copy=False)
    except MemoryError:  # FFmpeg's, too; it is not the file's fault
        raise
    except av.FFmpegError as error:
        raise TrackFailure(FailureCode.UNDECODABLE, f"FFmpeg gave up: {error.strerror}") from error


def _refuse_cut(path: Path, header: AudioHeader, duration_s: float) -> None:
    declared_s = header.declared_duration_s
    if declared_s is not None and duration_s < declared_s - max(MISSING_S, MISSING_SHARE * declared_s):
        raise TrackFailure(
            FailureCode.TRUNCATED, f"{duration_s:.2f} s of the declared {declared_s:.2f} s are there"
        )
    if header.container == "ogg" and not _ogg_ends(path):
        raise TrackFailure(FailureCode.TRUNCATED, "the last Ogg page does not end its stream")


def _ogg_ends(path: Path) -> bool:
    """Whether the last page carries the end-of-stream flag; an Ogg file states its length nowhere else."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - OGG_TAIL_BYTES))
        tail = file.read()
    last_page = tail[tail.rfind(b"OggS") :]
    return len(last_page) > 5 and bool(last_page[5] & OGG_END_OF_STREAM)
