"""Code in an interpreter of its own: nothing is loaded there, and its peak memory is nobody else's."""

import os
import subprocess
import sys
from pathlib import Path

#: Where modules are looked for: here, and in this very checkout.
PATHS = [str(folder) for folder in Path(__file__).parents[:2]]


def run_fresh(code, *arguments, timeout_s=300, **environment):
    """What the code prints; it may import the modules beside this one."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def peak_mb():
    """VmHWM of this process in 10^6 bytes; ru_maxrss would also count the process before its exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
