"""Stands before the real module where this folder is on the path: tracks by name take their reader down.

As it is in practice: a decoder that hangs holds the interpreter lock in C; one that wants too much memory
gets none; and the system's own killer sends SIGKILL.
"""

import ctypes
import importlib.machinery
import importlib.util
import os
import signal
import sys
from pathlib import Path

_others = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).parent]
_spec = importlib.machinery.PathFinder.find_spec("soundfile", _others)
_real = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_real)
globals().update({name: value for name, value in vars(_real).items() if not name.startswith("__")})


class SoundFile(_real.SoundFile):
    """Reads like the real one, unless the file's name says otherwise; opening it never harms."""

    def __init__(self, file, *arguments, **options):
        self._opened = Path(f"/proc/self/fd/{file}").resolve() if isinstance(file, int) else Path(str(file))
        super().__init__(file, *arguments, **options)

    def read(self, *arguments, **options):
        name = self._opened.stem
        if name.startswith("hangs"):
            ctypes.PyDLL(None).sleep(600)
        if name.startswith("devours"):
            bytearray(8 * 10**9)
        if name.startswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(*arguments, **options)
