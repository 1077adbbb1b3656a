"""How many cores this process may use: what the machine has is not what a container or a scheduler grants.

It lies outside the packages because lanes of the model (``embeddings``) and worker processes (``resources``)
must count alike. The one other thing here keeps a computation to one core.
"""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from threadpoolctl import threadpool_limits

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Cores granted by affinity and, in a Linux container, by its quota of processor time; at least one."""
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(granted, _quota() or granted))


def one_blas_thread() -> AbstractContextManager[object]:
    """Let BLAS and LAPACK use one thread within the block, whatever thread of the process calls them.

    For decompositions of some hundred rows or columns, and not in several threads at once. Threads of BLAS
    wait for each other hundreds of times there, spinning: on idle cores that takes longer than one thread
    alone, on busy ones a hundred times as long (OpenBLAS, eigenvalues of 512 x 512: 0.02, 0.06 and 2.4 s).
    """
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def _quota() -> int | None:
    """Whole cores that the quota pays for; None where there is no quota."""
    if not _CGROUP_QUOTA.is_file():
        return None
    quota_us, period_us = _CGROUP_QUOTA.read_text(encoding="ascii").split()
    return None if quota_us == "max" else max(1, int(quota_us) // int(period_us))
