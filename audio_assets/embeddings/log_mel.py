"""The model's ears: 10-second windows to log-mel spectrograms.

The definition is that of ``ClapFeatureExtractor`` under ``rand_trunc`` (Slaney's mel scale), which takes
three to five times as long. It is numpy and scipy, without torch, so that it runs in the processes that
decode: a spectrogram is a seventh of the window it is made of, and the model's process only runs the model.

What belongs here: the front end and its parameters. What does not: where windows lie (``windows``), and what
a model makes of a spectrogram (``towers``, ``openvino_tower``).
"""

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings.windows import SAMPLE_RATE_HZ, WINDOW_SAMPLES

#: Part of every embedding's version; grows when the result changes.
LOG_MEL_VERSION = "log-mel-1"

FRAME_SAMPLES = 1024
HOP_SAMPLES = 480
MEL_BANDS = 64
LOWEST_HZ = 50
HIGHEST_HZ = 14_000
#: Frames of a window: one centred on every hop, both ends included.
FRAMES = WINDOW_SAMPLES // HOP_SAMPLES + 1

_POWER_FLOOR = np.float32(1e-10)
# So many frames and their spectra stay in the cache.
_BLOCK_FRAMES = 128

# Slaney's scale: 3 mel for 200 Hz up to 1 kHz, from there 27 mel for a factor of 6.4.
_BREAK_HZ = 1000.0
_MEL_A_HZ = 3 / 200
_LOG_STEP = math.log(6.4) / 27


def to_log_mel(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Power of 64 mel bands in dB, 100 times a second.

    Each window is mirrored at both ends by half a frame, cut into frames of 1024 samples, weighted by a
    periodic Hann window and transformed; bands are weighted sums of power, not below 1e-10, in dB re 1.

    Parameters
    ----------
    windows : np.ndarray, shape (k, 480000), float32
        Mono audio at 48 kHz.

    Returns
    -------
    np.ndarray, shape (k, 1001, 64), float32
        Decibels. A window's spectrogram does not depend on the other windows.

    Raises
    ------
    ValueError
        Windows of another length: the stock extractor would crop or pad them.

    References
    ----------
    M. Slaney, "Auditory Toolbox: Version 2", Interval Research technical report 1998-010, 1998 (mel scale).
    """
    if windows.ndim != 2 or windows.shape[1] != WINDOW_SAMPLES:
        raise ValueError(f"windows must have shape (k, {WINDOW_SAMPLES}), not {windows.shape}")
    power = np.empty((len(windows), FRAMES, MEL_BANDS), dtype=np.float32)
    for window, out in zip(windows, power, strict=True):
        _mel_power(window, out)
    decibels: npt.NDArray[np.float32] = 10 * np.log10(np.maximum(power, _POWER_FLOOR))
    return decibels


def mel_filters() -> npt.NDArray[np.float64]:
    """Triangles between neighbouring mel frequencies, each of the same area.

    Returns
    -------
    np.ndarray, shape (513, 64), float64
        Weight of each frequency bin in each band.
    """
    edges_hz = _hz(np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), MEL_BANDS + 2))
    bins_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, FRAME_SAMPLES // 2 + 1)[:, np.newaxis]
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz - low) / (centre - low)
    falling = (high - bins_hz) / (high - centre)
    filters: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return filters


def _mel_power(window: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
    from scipy.fft import rfft

    weights, hann = _tables()
    mirrored = np.pad(window, FRAME_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(mirrored, FRAME_SAMPLES)[::HOP_SAMPLES]
    for start in range(0, FRAMES, _BLOCK_FRAMES):
        block = slice(start, start + _BLOCK_FRAMES)
        spectra = rfft(frames[block] * hann, axis=1)
        # Sparse, as the bands hardly overlap; a dense product's last bits would depend on BLAS's threads.
        out[block] = (weights @ np.ascontiguousarray((spectra.real**2 + spectra.imag**2).T)).T


@cache
def _tables() -> tuple[Any, npt.NDArray[np.float32]]:
    from scipy.sparse import csr_array

    phase = 2 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES
    return csr_array(mel_filters().T.astype(np.float32)), (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def _mel(frequency_hz: float) -> float:
    if frequency_hz < _BREAK_HZ:
        return frequency_hz * _MEL_A_HZ
    return _BREAK_HZ * _MEL_A_HZ + math.log(frequency_hz / _BREAK_HZ) / _LOG_STEP


def _hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = mel - _BREAK_HZ * _MEL_A_HZ
    hz: npt.NDArray[np.float64] = np.where(above < 0, mel / _MEL_A_HZ, _BREAK_HZ * np.exp(above * _LOG_STEP))
    return hz
