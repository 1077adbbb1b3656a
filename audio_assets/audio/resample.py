"""Blocks of mono samples at a file's rate, collected as one array at another rate.

What belongs here: resampling and where the result lies in memory. What does not: files, mixing, verdicts.

A long track must fit once and not twice: blocks are resampled as they come, and the array is extended in
place, which the C library does by moving page tables (mremap) and not by copying.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Samples by which the array grows: 4 MB, or 24 s at 44.1 kHz.
GROWTH = 2**20


class ResampledTrack:
    """Collects a track block by block; equal bit for bit to resampling it whole.

    Parameters
    ----------
    source_rate_hz, rate_hz : int
        Sample rates of the blocks and of the result, in Hz.
    """

    def __init__(self, source_rate_hz: int, rate_hz: int) -> None:
        self._stream = _stream(source_rate_hz, rate_hz)
        self._ratio = rate_hz / source_rate_hz
        self._taken = 0
        self._filled = 0
        self._samples = np.empty(0, np.float32)

    def append(self, mono: NDArray[np.float32]) -> None:
        """Take the next block, float32 of shape (n,)."""
        self._taken += len(mono)
        self._keep(self._stream.resample_chunk(mono) if self._stream else mono)

    def finish(self) -> NDArray[np.float32]:
        """Give the whole track and take no more blocks.

        Returns
        -------
        ndarray of float32, shape (ceil(n · rate / source rate),)
            As librosa sizes it: cut off or filled up with zeros by a sample where soxr ends otherwise.
        """
        if self._stream:
            self._keep(self._stream.resample_chunk(np.empty(0, np.float32), last=True))
        self._samples.resize(math.ceil(self._taken * self._ratio), refcheck=False)
        return self._samples

    def _keep(self, block: NDArray[np.float32]) -> None:
        end = self._filled + len(block)
        if end > len(self._samples):
            # resize fills with zeros. Nobody else holds a view of the array while it may still move.
            self._samples.resize(end + GROWTH, refcheck=False)
        self._samples[self._filled : end] = block
        self._filled = end


def _stream(source_rate_hz: int, rate_hz: int) -> Any:
    if source_rate_hz == rate_hz:
        return None
    import soxr

    return soxr.ResampleStream(source_rate_hz, rate_hz, num_channels=1, dtype="float32", quality="soxr_hq")
