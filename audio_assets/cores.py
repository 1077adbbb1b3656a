"""How many cores this process may use: what the machine has is not what a container or a scheduler grants.

It lies outside the packages because lanes of the model (``embeddings``) and worker processes (``resources``)
must count alike, and holds nothing else.
"""

import os
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Cores granted by affinity and, in a Linux container, by its quota of processor time; at least one."""
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(granted, _quota() or granted))


def _quota() -> int | None:
    """Whole cores that the quota pays for; None where there is no quota."""
    if not _CGROUP_QUOTA.is_file():
        return None
    quota_us, period_us = _CGROUP_QUOTA.read_text(encoding="ascii").split()
    return None if quota_us == "max" else max(1, int(quota_us) // int(period_us))
