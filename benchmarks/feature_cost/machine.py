"""What the figures were measured on, and what the kernel knows about this process."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import threadpoolctl

from audio_assets.features import EXTRACTOR_VERSIONS

PACKAGES = ("essentia", "librosa", "numba", "numpy", "scipy", "soundfile")


def machine() -> dict[str, Any]:
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(terse=True),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "extractor": EXTRACTOR_VERSIONS["fast"],
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def peak_mb() -> float:
    """Largest resident size of this process.

    Not ru_maxrss, which a child takes over from the process that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise OSError("the kernel does not tell the peak resident size")


def refuse_threads() -> None:
    """CPU seconds of a BLAS with two threads hold the time that they wait for each other."""
    pools = [pool["filepath"] for pool in threadpoolctl.threadpool_info() if pool["num_threads"] > 1]
    if pools:
        raise SystemExit(f"more than one thread in {', '.join(pools)}")
