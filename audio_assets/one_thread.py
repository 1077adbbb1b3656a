"""Importing this module makes numeric libraries that load later use one thread.

Worker processes and benchmarks import it before all others, because OpenBLAS and numba read the environment
once, when they load. It lies outside the packages, whose own imports would load numpy first, and holds
nothing else: nobody else wants this effect.
"""

import os

# OpenMP, OpenBLAS, MKL, Accelerate, numba: workers times threads must not exceed the cores.
os.environ.update(
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    VECLIB_MAXIMUM_THREADS="1",
    NUMBA_NUM_THREADS="1",
)
