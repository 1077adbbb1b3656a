"""What a worker process does with one track, from its file to its numbers.

These functions run in the isolated pool: they take and return plain values, raise `TrackFailure`, and
import nothing of Dagster. They are where ``library``, ``audio``, ``features`` and ``embeddings`` meet.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_assets.audio import AudioLimits, DecodedAudio, decode_mono
from audio_assets.embeddings import SAMPLE_RATE_HZ as CLAP_RATE_HZ
from audio_assets.embeddings import Windowing, cut_windows, to_log_mel
from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.features import SAMPLE_RATE_HZ as FEATURE_RATE_HZ
from audio_assets.features import extract_features
from audio_assets.library import Entry, locate, stat_key


def track_features(root: Path, limits: AudioLimits, track: Entry) -> dict[str, Any]:
    """Columns of one row of ``audio_features``.

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
    dict
        The 56 features, the decoding columns and ``elapsed_s``.

    Raises
    ------
    TrackFailure
        The track cannot be analysed.
    """
    started = time.monotonic()
    audio = _decode(root, limits, track, FEATURE_RATE_HZ)
    features = extract_features(audio.samples)
    return {**features, **_decoding_columns(audio), "elapsed_s": time.monotonic() - started}


def track_log_mel(root: Path, limits: AudioLimits, windowing: Windowing, track: Entry) -> dict[str, Any]:
    """Spectrograms of one track, for CLAP.

    Parameters
    ----------
    root, limits, track
        As for `track_features`.
    windowing : Windowing
        How windows are cut.

    Returns
    -------
    dict
        ``log_mel`` (float32, ``(k, 1001, 64)``, dB), the decoding columns and ``elapsed_s``.

    Raises
    ------
    TrackFailure
        The track cannot be decoded.
    """
    started = time.monotonic()
    audio = _decode(root, limits, track, CLAP_RATE_HZ)
    spectrograms = to_log_mel(cut_windows(audio.samples, windowing))
    return {"log_mel": spectrograms, **_decoding_columns(audio), "elapsed_s": time.monotonic() - started}


def file_log_mel(limits: AudioLimits, windowing: Windowing, path: Path) -> npt.NDArray[np.float32]:
    """Spectrograms of a file that need not be a track, cut as those of a track are.

    Parameters
    ----------
    limits, windowing
        As for `track_log_mel`.
    path : Path
        The file.

    Returns
    -------
    ndarray of float32, shape (k, 1001, 64)
        In dB.

    Raises
    ------
    TrackFailure
        The file cannot be decoded.
    """
    return to_log_mel(cut_windows(decode_mono(path, CLAP_RATE_HZ, limits).samples, windowing))


def _decode(root: Path, limits: AudioLimits, track: Entry, rate_hz: int) -> DecodedAudio:
    assert track.file_path is not None
    # Located anew: between the scan and now a file may have become a link out of the root.
    path = root / locate(root, track.file_path)
    _refuse_changed(path, track)
    try:
        return decode_mono(path, rate_hz, limits)
    finally:  # a failure, too, may be of other bytes
        _refuse_changed(path, track)


def _refuse_changed(path: Path, track: Entry) -> None:
    """Refuse results of other bytes than those the ledger's hash stands for."""
    if stat_key(path) != track.stat:
        raise TrackFailure(
            FailureCode.CHANGED_WHILE_READING, f"{track.file_path} was changed after the manifest was made"
        )


def _decoding_columns(audio: DecodedAudio) -> dict[str, Any]:
    return {
        "decoder": audio.decoder,
        "declared_duration_s": audio.declared_duration_s,
        "decoded_duration_s": audio.decoded_duration_s,
    }
