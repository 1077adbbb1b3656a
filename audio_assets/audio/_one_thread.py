"""Importing this module makes numeric libraries that load later use one thread.

A fork server preloads it before all others, because numba reads the environment once, when it is imported.
It holds nothing else: nobody else wants this effect.
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
