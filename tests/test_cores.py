"""How many cores are counted: never more than were granted."""

import os

import pytest

from audio_assets import cores


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 8), ("350000 100000", 3), ("50000 100000", 1), (None, 8)]
)
def test_a_containers_quota_is_honoured(tmp_path, monkeypatch, quota, expected):
    if quota:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(cores, "_CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores.usable_cores() == expected
