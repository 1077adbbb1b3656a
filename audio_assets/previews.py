"""A few seconds of a track, to be heard on the map.

These functions run in the isolated pool, as ``tracks`` does: files are never decoded in the process of a
command. What belongs here: cutting and encoding. What does not: which tracks, and how much of them in all.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_assets.audio import AudioLimits, decode_mono
from audio_assets.library import Entry, locate

EXCERPT_S = 10.0
#: Enough to know a track by, at half of the bytes.
_RATE_HZ = 22_050


def mp3_excerpt(root: Path, limits: AudioLimits, track: Entry) -> bytes:
    """Cut ten seconds out of the middle of a track, as MP3.

    Parameters
    ----------
    root : Path
        Library root.
    limits : AudioLimits
        What is refused unread.
    track : Entry
        A live track of the ledger.

    Returns
    -------
    bytes
        Mono, some 40 kB; the whole of a shorter track.

    Raises
    ------
    TrackFailure
        The track cannot be decoded.
    """
    import soundfile

    assert track.file_path is not None
    audio = decode_mono(root / locate(root, track.file_path), _RATE_HZ, limits)
    file = BytesIO()
    soundfile.write(file, _middle(audio.samples), _RATE_HZ, format="MP3")
    return file.getvalue()


def _middle(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    wanted = round(EXCERPT_S * _RATE_HZ)
    start = max(0, (len(samples) - wanted) // 2)
    return samples[start : start + wanted]
