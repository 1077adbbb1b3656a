"""Processes that tests start and have to be rid of: waiting for one to answer, and finding what is left."""

import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest


def processes_over(data: Path) -> list[int]:
    """Find processes whose environment names the data folder, as that of all Dagster processes does."""
    mark = f"AUDIO_ASSETS_DATA={data}\0".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environment.read_bytes():
                found.append(int(environment.parent.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or somebody else's
    return found


def wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
    pytest.fail(f"nothing answers on {url}:\n{log.read_text()[-3000:]}")
