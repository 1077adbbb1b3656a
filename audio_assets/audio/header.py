"""What a file declares about its audio, read without decoding it, and the limits it must keep.

What belongs here: opening a file far enough to learn codec, rate, channels and declared length, and
refusing what would hurt to decode (a header that says 1 Hz makes a resampler allocate without bound). What
does not: samples (`decode`), tags and identity of tracks (the library package).

Two decoders: libsndfile first, which never crashed on malformed files, then FFmpeg through PyAV for what
libsndfile cannot open (m4a, aac, wma). Both see a file descriptor or a closed list of formats, so that
neither a name's ending nor a playlist inside the file decides what is opened.
"""

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from audio_assets.failures import FailureCode, TrackFailure

Decoder = Literal["soundfile", "pyav"]

#: Containers that libsndfile may open; it also knows sample dumps and matrices that are no music.
SNDFILE_CONTAINERS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "CAF", "AU"})

#: Containers that FFmpeg may open: audio only, no playlists and nothing that refers to other files.
FFMPEG_FORMATS = "aac,aiff,ape,asf,flac,m4a,matroska,mj2,mov,mp3,mp4,mpc,mpc8,ogg,tta,wav,webm,wv,3g2,3gp"

#: FFmpeg formats whose header states a length; for a bare AAC stream FFmpeg guesses from the bit rate.
FFMPEG_FORMATS_WITH_LENGTH = frozenset({"asf", "matroska", "mov"})

#: libsndfile's names of sample formats, as codecs.
CODECS = {
    "MPEG_LAYER_I": "mp1",
    "MPEG_LAYER_II": "mp2",
    "MPEG_LAYER_III": "mp3",
    "PCM_S8": "pcm_s8",
    "PCM_U8": "pcm_u8",
    "PCM_16": "pcm_s16",
    "PCM_24": "pcm_s24",
    "PCM_32": "pcm_s32",
    "FLOAT": "pcm_f32",
    "DOUBLE": "pcm_f64",
}

#: Sizes from here on in a WAV's data chunk mean "I could not go back and write the size" (a pipe).
WAV_STREAM_BYTES = 0x7FFF_0000

#: libsndfile's frame count where a header does not tell.
UNKNOWN_FRAMES = 2**62


@dataclass(frozen=True)
class AudioLimits:
    """What a file must keep to be decoded and analysed.

    Parameters
    ----------
    min_duration_s, max_duration_s : float
        Shortest and longest track in seconds. A minute is 10.6 MB of samples at 44.1 kHz, and its analysis
        takes about half of that again: the default, two hours, stays below 3 GB a worker.
    min_rate_hz, max_rate_hz : int
        Lowest and highest sample rate a header may declare, in Hz.
    max_channels : int
        Most channels a header may declare.
    silence_peak : float
        A mono mix whose half peak-to-peak span is below this is silent. 1e-4 is -80 dBFS, about three
        steps of 16 bits; the span rather than the peak, so that a constant offset is silence too.
    max_peak : float
        Largest amplitude. Float files may rightly exceed 1.0; beyond 1e3 (+60 dBFS) they hold
        unscaled integers or garbage.
    """

    min_duration_s: float = 1.0
    max_duration_s: float = 7200.0
    min_rate_hz: int = 4_000
    max_rate_hz: int = 384_000
    max_channels: int = 32
    silence_peak: float = 1e-4
    max_peak: float = 1e3


DEFAULT_LIMITS = AudioLimits()


@dataclass(frozen=True)
class AudioHeader:
    """What a file says about itself before anything is decoded.

    Parameters
    ----------
    codec : str
        Such as ``"mp3"``, ``"flac"``, ``"vorbis"``, ``"opus"``, ``"aac"``, ``"pcm_s16"``, ``"pcm_f32"``.
    container : str
        Such as ``"wav"``, ``"ogg"``, ``"mp3"``, ``"mov"`` (which includes mp4 and m4a).
    declared_duration_s : float or None
        Length in seconds where the file states one; None rather than an estimate.
    sample_rate_hz, channels : int
        As declared.
    decoder : {'soundfile', 'pyav'}
        Which library opened the file and will decode it.
    """

    codec: str
    container: str
    declared_duration_s: float | None
    sample_rate_hz: int
    channels: int
    decoder: Decoder


def probe(path: Path, limits: AudioLimits = DEFAULT_LIMITS) -> AudioHeader:
    """Read a file's header and refuse what should not be decoded.

    Parameters
    ----------
    path : Path
        A file on disk.
    limits : AudioLimits
        What the header must keep.

    Returns
    -------
    AudioHeader

    Raises
    ------
    TrackFailure
        MISSING, NOT_A_FILE, UNREADABLE, EMPTY_FILE, UNDECODABLE, ABSURD_SAMPLE_RATE, ABSURD_CHANNELS, or
        TOO_LONG and TOO_SHORT by the declared length.
    """
    _refuse_unreadable(path)
    header = _sndfile_header(path) or _ffmpeg_header(path)
    _refuse_absurd(header, limits)
    return header


@contextmanager
def open_sndfile(path: Path) -> Iterator[Any]:
    """Open a file with libsndfile by its content alone: given a name, it would trust the name's ending."""
    import soundfile

    with path.open("rb") as file, soundfile.SoundFile(file.fileno(), closefd=False) as sound:
        # Else soundfile seeks after each read, which goes back over a gap in a damaged Ogg file and hides it.
        sound.seekable = lambda: False  # type: ignore[method-assign]
        yield sound


@contextmanager
def open_ffmpeg(path: Path) -> Iterator[Any]:
    """Open a file with FFmpeg, confined to this one file and to formats of audio."""
    import av

    options = {"protocol_whitelist": "file", "format_whitelist": FFMPEG_FORMATS}
    with av.open(f"file:{path}", options=options) as container:
        yield container


def _refuse_unreadable(path: Path) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise TrackFailure(FailureCode.NOT_A_FILE, "not a regular file")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise TrackFailure(FailureCode.MISSING, "no such file") from error
    except OSError as error:
        raise TrackFailure(FailureCode.UNREADABLE, str(error.strerror)) from error
    if status.st_size == 0:
        raise TrackFailure(FailureCode.EMPTY_FILE, "0 bytes")


def _refuse_absurd(header: AudioHeader, limits: AudioLimits) -> None:
    if not limits.min_rate_hz <= header.sample_rate_hz <= limits.max_rate_hz:
        raise TrackFailure(
            FailureCode.ABSURD_SAMPLE_RATE,
            f"{header.sample_rate_hz} Hz, limits {limits.min_rate_hz} to {limits.max_rate_hz} Hz",
        )
    if not 1 <= header.channels <= limits.max_channels:
        raise TrackFailure(
            FailureCode.ABSURD_CHANNELS, f"{header.channels} channels, limit {limits.max_channels}"
        )
    if header.declared_duration_s is not None:
        refuse_duration(header.declared_duration_s, limits)


def refuse_duration(duration_s: float, limits: AudioLimits) -> None:
    """Raise TOO_SHORT or TOO_LONG for a duration outside the limits."""
    if duration_s < limits.min_duration_s:
        raise TrackFailure(FailureCode.TOO_SHORT, f"{duration_s:.3f} s, limit {limits.min_duration_s:g} s")
    if duration_s > limits.max_duration_s:
        raise TrackFailure(FailureCode.TOO_LONG, f"{duration_s:.1f} s, limit {limits.max_duration_s:g} s")


def _sndfile_header(path: Path) -> AudioHeader | None:
    """Header as libsndfile reads it; None where it cannot read the file."""
    import soundfile

    try:
        with open_sndfile(path) as sound:
            if sound.format not in SNDFILE_CONTAINERS or not 0 < sound.frames < UNKNOWN_FRAMES:
                return None  # libsndfile cannot read a WAV or FLAC whose header leaves the length open
            if sound.format == "MP3" and not _mp3_states_length(path):
                return (
                    None  # it guesses the length from the size and stops there: a fifth of a VBR file is lost
                )
            return AudioHeader(
                codec="flac" if sound.format == "FLAC" else CODECS.get(sound.subtype, sound.subtype.lower()),
                container=sound.format.lower(),
                declared_duration_s=_declared_duration_s(path, sound),
                sample_rate_hz=sound.samplerate,
                channels=sound.channels,
                decoder="soundfile",
            )
    except soundfile.LibsndfileError:
        return None


def _declared_duration_s(path: Path, sound: Any) -> float | None:
    """Length that the file states, which is not always what libsndfile answers.

    libsndfile shortens a cut WAV or AIFF to what is there.
    """
    with path.open("rb") as file:
        if sound.format in {"WAV", "WAVEX"}:
            return _wav_duration_s(file)
        if sound.format == "AIFF":
            return _aiff_duration_s(file)
    return float(sound.frames / sound.samplerate)


def _mp3_states_length(path: Path) -> bool:
    """Whether a Xing, Info or VBRI header says how long the file is."""
    from mutagen.mp3 import BitrateMode, HeaderNotFoundError, MPEGInfo

    try:
        with path.open("rb") as file:
            return bool(MPEGInfo(file).bitrate_mode != BitrateMode.UNKNOWN)
    except HeaderNotFoundError:
        return False


def _aiff_duration_s(file: BinaryIO) -> float | None:
    from mutagen.aiff import AIFFInfo, error

    try:
        return float(AIFFInfo(file).length)
    except (error, MemoryError):  # a chunk that claims gigabytes is read whole
        return None


def _wav_duration_s(file: BinaryIO) -> float | None:
    """Size of the data chunk / bytes a second of the fmt chunk; None for a stream's placeholder size."""
    bytes_per_s = 0
    file.seek(12)
    while len(chunk := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            stated = bytes_per_s and 0 < size < WAV_STREAM_BYTES
            return size / bytes_per_s if stated else None
        start = file.tell()
        if name == b"fmt ":
            bytes_per_s = int.from_bytes(file.read(12)[8:], "little")
        file.seek(start + size + size % 2, os.SEEK_SET)
    return None


def _ffmpeg_header(path: Path) -> AudioHeader:
    import av

    try:
        with open_ffmpeg(path) as container:
            if not container.streams.audio:
                raise TrackFailure(FailureCode.UNDECODABLE, "the file holds no audio stream")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise TrackFailure(FailureCode.UNDECODABLE, "FFmpeg has no decoder for the codec")
            if not stream.codec_context.sample_rate:
                raise TrackFailure(FailureCode.UNDECODABLE, "FFmpeg finds no sample rate")
            return AudioHeader(
                codec=stream.codec_context.codec.canonical_name,
                container=container.format.name.split(",")[0],
                declared_duration_s=_ffmpeg_duration_s(container, stream),
                sample_rate_hz=stream.codec_context.sample_rate,
                channels=stream.codec_context.layout.nb_channels,
                decoder="pyav",
            )
    except av.FFmpegError as error:
        raise TrackFailure(FailureCode.UNDECODABLE, f"no decoder opens the file: {error.strerror}") from error


def _ffmpeg_duration_s(container: Any, stream: Any) -> float | None:
    import av

    if container.format.name.split(",")[0] not in FFMPEG_FORMATS_WITH_LENGTH:
        return None
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None
