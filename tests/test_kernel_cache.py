"""Where compiled code is kept: nowhere that somebody else could put some, and never compiled twice."""

import logging
import os
import stat

import filelock
import pytest
from fresh_process import run_fresh

from audio_assets.features.fast import _compiled
from audio_assets.features.fast._compiled import COMPLETE, KernelCacheError, compiled_once, digest

SOMEBODY = 12345


def cache_folder():
    """Looked for anew, as a new process does."""
    return _compiled.cache_folder.__wrapped__()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_a_new_folder_is_private(cache):
    before = os.umask(0)
    try:
        folder = cache_folder()
    finally:
        os.umask(before)
    assert folder.is_relative_to(cache)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_that_others_write_to_is_refused(cache, mode):
    cache_folder().chmod(mode)
    with pytest.raises(KernelCacheError, match=r"by other users: remove it, or set NUMBA_CACHE_DIR"):
        cache_folder()


def test_a_folder_of_somebody_else_is_refused_unless_it_is_roots(cache, monkeypatch):
    folder = cache_folder()
    is_root = os.geteuid() == 0
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    if is_root:
        assert cache_folder() == folder
        os.chown(folder, SOMEBODY + 1, -1)
    with pytest.raises(KernelCacheError, match="belongs to user"):
        cache_folder()


@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"])
def test_a_relative_path_is_refused(name, monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(name, "somewhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KernelCacheError, match="absolute path"):
        cache_folder()
    assert not list(tmp_path.iterdir())


def test_an_edit_gives_another_place(tmp_path):
    """By its content: an edit within a clock's tick leaves the time as it was."""
    module = tmp_path / "loops.py"
    module.write_text("A = 1")
    before, time_ns = digest(tmp_path), module.stat().st_mtime_ns
    module.write_text("A = 2")
    os.utime(module, ns=(time_ns, time_ns))
    assert digest(tmp_path) != before


def test_nowhere_to_keep_kernels_is_told_and_ends_no_worker():
    code = (
        "from audio_assets.audio import IsolatedPool\n"
        "from audio_assets.features import PRELOAD, extract_features\n"
        "import signals\n"
        "if __name__ == '__main__':\n"
        "    with IsolatedPool(workers=1, timeout_s=60, preload=PRELOAD) as pool:\n"
        "        (_, outcome), *_ = pool.map_unordered(extract_features, [signals.song(3)])\n"
        "        print(outcome)"
    )
    printed = run_fresh(code, NUMBA_CACHE_DIR="/dev/null")
    assert "set NUMBA_CACHE_DIR to a folder that can be written to" in printed


@pytest.mark.usefixtures("warm_kernels")
def test_a_complete_cache_is_only_read():
    """Nor does numba, whose own way is to try whether it may write."""
    code = (
        "import tempfile, signals\n"
        "from audio_assets.features import extract_features\n"
        "from audio_assets.features._essentia import es\n"
        "from numba.core.caching import IndexDataCacheFile\n"
        "tempfile.TemporaryFile = IndexDataCacheFile.save = None\n"
        "print(extract_features(signals.song(3))['tempo_bpm'])"
    )
    assert float(run_fresh(code)) > 0


def test_compiling_is_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(_compiled, "cache_folder", lambda: tmp_path)
    made = []
    with caplog.at_level(logging.WARNING):
        compiled_once(lambda: made.append(1))
        compiled_once(lambda: made.append(2))
    assert made == [1, 2]
    assert (tmp_path / COMPLETE).exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"compiling the feature kernels into {tmp_path}, once: about a minute"
    ]


def test_what_failed_to_compile_is_not_complete(tmp_path, monkeypatch):
    monkeypatch.setattr(_compiled, "cache_folder", lambda: tmp_path)
    with pytest.raises(ZeroDivisionError):
        compiled_once(lambda: 1 / 0)
    assert not (tmp_path / COMPLETE).exists()


def test_a_lock_that_is_never_released_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(_compiled, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(_compiled, "LOCK_WAIT_S", 0.1)
    with (
        filelock.FileLock(tmp_path / "lock"),
        pytest.raises(KernelCacheError, match=r"another process .* set NUMBA_CACHE_DIR"),
    ):
        compiled_once(lambda: None)
