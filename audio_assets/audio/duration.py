"""How long a file plays, found without decoding it."""

from pathlib import Path

from audio_assets.audio.header import AudioHeader, open_ffmpeg


def playing_time_s(path: Path, header: AudioHeader) -> float | None:
    """Length of a file: what its header states, else the sum of its packets.

    An mp3 without a Xing header, a bare AAC stream or a WAV from a pipe state no length; their packets are
    walked through, which reads the file but decodes nothing.

    Parameters
    ----------
    path : Path
        The file.
    header : AudioHeader
        As `probe` read it.

    Returns
    -------
    float or None
        Seconds; None where only decoding can tell.
    """
    import av

    if header.declared_duration_s is not None:
        return header.declared_duration_s
    try:
        with open_ffmpeg(path) as container:
            stream = container.streams.audio[0]
            ticks = sum(packet.duration or 0 for packet in container.demux(stream))
            return float(ticks * stream.time_base) or None
    except (av.FFmpegError, IndexError):  # FFmpeg does not read all that libsndfile does
        return None
