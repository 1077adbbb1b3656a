"""The command line, as a process of its own."""

import os
import subprocess
import sys


def cli(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed, whatever it exited with."""
    return subprocess.run(
        [sys.executable, "-m", "audio_assets", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "160", **environment},
        check=False,
        timeout=300,
    )
