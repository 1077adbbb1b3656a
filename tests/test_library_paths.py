"""Whatever a manifest says, only regular files below the library root are opened."""

import os
from pathlib import Path

import pytest

from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.library import locate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "music"
    (root / "Q4").mkdir(parents=True)
    (root / "Q4" / "A002.mp3").write_bytes(b"x")
    (root / "top.wav").write_bytes(b"x")
    (tmp_path / "secret.wav").write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("Q4/A002.mp3", "Q4/A002.mp3"),
        ("./Q4/A002.mp3", "Q4/A002.mp3"),
        ("/Users/somebody/data/audio/Q4/A002.mp3", "Q4/A002.mp3"),
        ("C:\\Users\\somebody\\audio\\Q4\\A002.mp3", "Q4/A002.mp3"),
        ("Q4\\A002.mp3", "Q4/A002.mp3"),
    ],
)
def test_a_path_of_another_computer_is_found_by_its_tail(root: Path, named: str, found: str) -> None:
    assert locate(root, named).as_posix() == found


def test_an_absolute_path_below_the_root_is_itself(root: Path) -> None:
    assert locate(root, str(root / "Q4" / "A002.mp3")).as_posix() == "Q4/A002.mp3"


def test_a_link_inside_the_root_is_followed(root: Path) -> None:
    (root / "alias.mp3").symlink_to(root / "Q4" / "A002.mp3")
    assert locate(root, "alias.mp3").as_posix() == "Q4/A002.mp3"


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ("Q4/none.mp3", FailureCode.MISSING),
        ("/Users/somebody/Q4/none.mp3", FailureCode.MISSING),
        ("/Users/somebody/another album/top.wav", FailureCode.MISSING),
        ("x" * 5000, FailureCode.MISSING),
        ("../secret.wav", FailureCode.OUTSIDE_ROOT),
        ("Q4/../../secret.wav", FailureCode.OUTSIDE_ROOT),
        ("..\\secret.wav", FailureCode.OUTSIDE_ROOT),
        ("/etc/hostname", FailureCode.OUTSIDE_ROOT),
        ("https://example.org/a.mp3", FailureCode.UNSUPPORTED_PATH),
        ("file:///etc/hostname", FailureCode.UNSUPPORTED_PATH),
        ("", FailureCode.UNSUPPORTED_PATH),
        ("  ", FailureCode.UNSUPPORTED_PATH),
        ("a\0b.mp3", FailureCode.UNSUPPORTED_PATH),
        ("Q4", FailureCode.NOT_A_FILE),
        ("top.wav/x.wav", FailureCode.MISSING),
    ],
)
def test_what_may_not_be_opened_is_refused_with_its_reason(root: Path, named: str, code: FailureCode) -> None:
    with pytest.raises(TrackFailure) as failure:
        locate(root, named)
    assert failure.value.code == code


def test_links_out_of_the_root_and_pipes_are_refused(root: Path) -> None:
    (root / "out.wav").symlink_to(root.parent / "secret.wav")
    (root / "loop.wav").symlink_to(root / "loop.wav")
    os.mkfifo(root / "pipe.wav")
    for named, code in (
        ("out.wav", FailureCode.OUTSIDE_ROOT),
        ("pipe.wav", FailureCode.NOT_A_FILE),
        ("loop.wav", FailureCode.UNREADABLE),
    ):
        with pytest.raises(TrackFailure) as failure:
            locate(root, named)
        assert failure.value.code == code, named
