"""What a worker makes of a track whose file is not, or no longer, the one that was hashed."""

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from signals import drone

import audio_assets.tracks
from audio_assets.audio import AudioLimits, DecodedAudio
from audio_assets.failures import RETRYABLE, FailureCode, TrackFailure
from audio_assets.library import Entry, stat_key
from audio_assets.tracks import track_features


@pytest.fixture
def track(tmp_path: Path) -> Entry:
    """A live track, as it was hashed."""
    path = tmp_path / "a.wav"
    soundfile.write(path, drone(2.0), 44_100)
    size_bytes, mtime_ns, ctime_ns = stat_key(path)
    entry = Entry("a", "a.wav", "live", file_path="a.wav", content_sha256="hash")
    return replace(entry, size_bytes=size_bytes, mtime_ns=mtime_ns, ctime_ns=ctime_ns)


def code_of(root: Path, track: Entry) -> FailureCode:
    with pytest.raises(TrackFailure) as raised:
        track_features(root, AudioLimits(), track)
    assert raised.value.code in RETRYABLE, "it says nothing about the bytes that were hashed"
    return raised.value.code


def test_a_file_that_has_changed_or_gone_is_tried_again(tmp_path: Path, track: Entry) -> None:
    path = tmp_path / "a.wav"
    content = path.read_bytes()
    path.write_bytes(content + b"\0\0")
    assert code_of(tmp_path, track) == FailureCode.CHANGED_WHILE_READING
    path.unlink()
    assert code_of(tmp_path, track) == FailureCode.MISSING
    path.symlink_to("/etc/hostname")
    assert code_of(tmp_path, track) == FailureCode.OUTSIDE_ROOT
    path.unlink()
    path.mkdir()
    assert code_of(tmp_path, track) == FailureCode.NOT_A_FILE


def test_a_file_replaced_while_it_is_decoded_does_not_fail_for_good(
    tmp_path: Path, track: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = audio_assets.tracks.decode_mono

    def decode_half(path: Path, rate_hz: int, limits: AudioLimits) -> DecodedAudio:
        path.write_bytes(path.read_bytes()[:1000])
        return decode(path, rate_hz, limits)

    monkeypatch.setattr(audio_assets.tracks, "decode_mono", decode_half)
    assert code_of(tmp_path, track) == FailureCode.CHANGED_WHILE_READING
