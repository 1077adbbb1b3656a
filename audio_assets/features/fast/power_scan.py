"""The pass over librosa's frames: all that timbre, chroma and onset strength need of them.

Task: from samples to a few numbers a frame, block by block. Two things are known only at the end of the
track, and what waits for them is small: the loudest value, below which levels are clipped (the mel bands
wait), and the tuning, which the chroma filters depend on (the spectra themselves are kept as far as
`KEPT_FRAMES`, and made anew beyond).

What does not belong here: loops over bins (`lanes`, `peaks`), means over frames (`spectral`, `tempo`).

References
----------
.. [1] Jiang et al. "Music type classification by spectral contrast feature". ICME, 2002.
.. [2] Ellis. "Chroma feature analysis and synthesis". Columbia University, 2007. (chroma filters)
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ
from audio_assets.features.fast.lanes import LANES, band_extremes, centroids, mel_bands
from audio_assets.features.fast.peaks import prominent_peaks
from audio_assets.features.fast.spectra import BINS, FRAME, HOP, blocks, librosa_lanes, rounded_up
from audio_assets.features.fast.tempo import onset_envelopes

BIN_HZ = SAMPLE_RATE_HZ / FRAME

MEL_BANDS = 128

#: Frames of mel bands that are turned into decibels at a time; how sums over frames are cut hangs on it.
DECIBEL_FRAMES = 256

#: Tuning: peaks between these frequencies and above this share of a frame's highest bin.
TUNING_BAND_HZ = (150.0, 4000.0)
TUNING_SHARE = 0.1

#: The tuning is told in hundredths of a semitone.
TUNING_EDGES = np.linspace(-0.5, 0.5, 101)

#: Frames (190 s) whose spectra are kept for the chroma: 67 MB.
KEPT_FRAMES = 16384


@dataclass(frozen=True)
class PowerScan:
    """What the pass over librosa's frames gives.

    Parameters
    ----------
    mean_log_mel_db : ndarray of float64, shape (128,)
        Mean over frames of the mel bands in dB.
    mean_rises_db, median_rises_db : ndarray of float32, shape (frames - 1,)
        Mean and median over mel bands of the rise since the frame before.
    centroid_hz : ndarray of float64, shape (frames,)
        Spectral centroid.
    contrast_peaks, contrast_valleys : ndarray of float64, shape (frames, 7)
        Mean magnitude of the strongest and of the weakest bins of each band [1]_.
    mean_chroma : ndarray of float64, shape (12,)
        Chroma, each frame divided by its maximum, mean over frames; bin 0 is C.
    """

    mean_log_mel_db: NDArray[np.float64]
    mean_rises_db: NDArray[np.float32]
    median_rises_db: NDArray[np.float32]
    centroid_hz: NDArray[np.float64]
    contrast_peaks: NDArray[np.float64]
    contrast_valleys: NDArray[np.float64]
    mean_chroma: NDArray[np.float64]


def scan_power(samples: NDArray[np.float32]) -> PowerScan:
    """Transform all of librosa's frames once and keep what the features need.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, at least 4096 samples.

    Returns
    -------
    PowerScan
    """
    frames = 1 + len(samples) // HOP
    edges, counts = contrast_bands()
    mel = np.empty((frames, MEL_BANDS), np.float32)
    centroid_hz = np.empty(frames)
    peaks, valleys = np.empty((frames, len(edges))), np.empty((frames, len(edges)))
    tuning_peaks, kept = [], {}
    for first, count in blocks(frames):
        here = slice(first, first + count)
        lanes = librosa_lanes(samples, first, count)
        mel_bands(lanes, *mel_filters(), mel[here])
        centroids(lanes, BIN_HZ, centroid_hz[here])
        band_extremes(lanes, edges, counts, peaks[here], valleys[here])
        tuning_peaks.append(deviations(lanes, count))
        if first < KEPT_FRAMES:
            kept[first] = lanes
    levels = mel_levels(mel)
    del mel
    chroma = mean_chroma(samples, frames, tuning(tuning_peaks), kept)
    return PowerScan(*levels, centroid_hz, peaks, valleys, chroma)


def mel_levels(
    mel: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """Mean over frames, and rises from frame to frame, of mel bands in dB.

    The level is that of librosa.power_to_db, whose default clips 80 dB below the track's maximum.

    Parameters
    ----------
    mel : ndarray of float32, shape (frames, 128)
        Power in mel bands.

    Returns
    -------
    mean_log_mel_db, mean_rises_db, median_rises_db
        As in `PowerScan`.
    """
    lowest_db = decibel(mel.max()) - 80
    total = np.zeros(MEL_BANDS)
    means, medians = np.empty((2, len(mel) - 1), np.float32)
    for first in range(0, len(mel), DECIBEL_FRAMES):
        level_db = decibel(
            mel[first : first + DECIBEL_FRAMES + 1]
        )  # one more: its rise belongs to this piece
        np.maximum(level_db, lowest_db, out=level_db)
        total += level_db[:DECIBEL_FRAMES].sum(axis=0)
        here = slice(first, first + DECIBEL_FRAMES)
        onset_envelopes(level_db, means[here], medians[here])
    return total / len(mel), means, medians


def decibel(power: Any) -> Any:
    """Power in dB in float64, at least -100 dB."""
    level: NDArray[np.float64] = np.log(np.maximum(power, 1e-10), dtype=np.float64)
    level *= 10 / np.log(10)
    return level


@cache
def contrast_bands() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Octave bands from 200 Hz as librosa cuts them, and 2 % of each band's bins.

    A band shares its lower neighbour's last bin and leaves out its own last one; the highest ends at Nyquist.
    """
    corners_hz = np.array([0, *(200 * 2.0 ** np.arange(7))])
    hz = np.arange(BINS) * BIN_HZ
    first = np.searchsorted(hz, corners_hz[:-1], side="left")
    end = np.searchsorted(hz, corners_hz[1:], side="right")
    first[1:] -= 1
    end[-1] = BINS
    counts = np.maximum(1, np.rint(0.02 * (end - first)).astype(np.int64))
    end[:-1] -= 1
    return np.stack([first, end], axis=1), counts


@cache
def mel_filters() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Triangular filters of 128 mel bands from 0 to 22,050 Hz, each of area 1 over Hz [1]_.

    The mel scale is linear below 1000 Hz (200/3 Hz a mel), logarithmic above (27 mels from 1000 to 6400 Hz).

    Returns
    -------
    first_bin, length : ndarray of int64, shape (128,)
        First bin with a positive weight, number of such bins.
    weights : ndarray of float32, shape (128, longest)
        Weights from that bin on, zeros on the right.

    References
    ----------
    .. [1] Slaney. "Auditory toolbox, version 2". Interval Research, technical report 1998-010.
    """
    top_mel = 15 + 27 * np.log(22_050 / 1000) / np.log(6.4)
    mels = np.linspace(0, top_mel, MEL_BANDS + 2)
    corners_hz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mels - 15)))
    hz = np.arange(BINS) * (44_100 / FRAME)
    left, centre, right = (corners_hz[i : i + MEL_BANDS, None] for i in range(3))
    triangles = np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre))
    filters = np.maximum(0, triangles) * 2 / (right - left)
    first_bin = (filters > 0).argmax(axis=1)
    length = (filters > 0).sum(axis=1)
    wide = np.pad(filters, ((0, 0), (0, length.max())))
    return (
        first_bin,
        length,
        np.array([wide[m, i : i + length.max()] for m, i in enumerate(first_bin)], np.float32),
    )


def deviations(lanes: NDArray[np.float32], frames: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """How far prominent spectral peaks are from the semitones of A = 440 Hz, and how high they are.

    Returns
    -------
    hundredth : ndarray of uint8, shape (peaks,)
        0 to 99, place in `TUNING_EDGES`.
    height : ndarray of float32, shape (peaks,)
        Power.
    """
    first, last = (int(np.ceil(hz / BIN_HZ)) for hz in TUNING_BAND_HZ)
    last -= 1  # the upper end is not in the band
    position = np.empty(frames * (last - first + 2) // 2, np.float32)
    height = np.empty_like(position)
    count = prominent_peaks(lanes, frames, first, last, TUNING_SHARE, position, height)
    hz = (position[:count] * BIN_HZ).astype(np.float32)
    deviation = np.mod(12 * np.log2(hz / np.float32(440 / 16)), np.float32(1))
    deviation[deviation >= 0.5] -= 1
    hundredth = np.searchsorted(TUNING_EDGES, deviation, side="right") - 1
    return hundredth.astype(np.uint8), height[:count].copy()


def tuning(peaks: list[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> float:
    """Deviation of the track from A = 440 Hz, in hundredths of a semitone (-0.5 to 0.49).

    The most frequent deviation among the upper half (by power) of all prominent spectral peaks.
    """
    height = np.concatenate([height for _, height in peaks])
    if not len(height):
        return 0.0
    strong = height >= np.median(height)
    hundredth = np.concatenate([hundredth for hundredth, _ in peaks])[strong]
    return float(TUNING_EDGES[np.bincount(hundredth).argmax()])


def mean_chroma(
    samples: NDArray[np.float32], frames: int, tuning_semitones: float, kept: dict[int, NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Chroma, each frame divided by its maximum, mean over frames; shape (12,), bin 0 is C.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        The track.
    frames : int
        Number of its frames.
    tuning_semitones : float
        From `tuning`.
    kept : dict of int to ndarray
        Spectra by the first frame of their block; blocks that are not among them are made again.
    """
    filters = chroma_filters(tuning_semitones)
    chroma = np.empty((rounded_up(frames, LANES) // LANES, 12, LANES), np.float32)
    for first, count in blocks(frames):
        lanes = kept[first] if first in kept else librosa_lanes(samples, first, count)
        here = chroma[first // LANES : first // LANES + len(lanes)]
        np.matmul(filters, lanes, out=here)
        highest = here.max(axis=1, keepdims=True)
        here /= np.where(highest < np.finfo(np.float32).tiny, np.float32(1), highest)
    total: NDArray[np.float64] = chroma.sum(axis=(0, 2), dtype=np.float64)
    return total / frames


@cache
def chroma_filters(tuning_semitones: float) -> NDArray[np.float32]:
    """Gaussian pitch class filters for a tuning [2]_, shape (12, 1025), bin 0 is C.

    A filter is half a semitone wide, or half a bin where bins are wider; each bin's weights have norm 1 and
    fade with the distance from octave 5 (two octaves: factor e^-0.5).
    """
    hz = np.arange(1, FRAME) * (SAMPLE_RATE_HZ / FRAME)
    semitones = 12 * np.log2(hz / (440 * 2 ** (tuning_semitones / 12) / 16))
    semitones = np.concatenate(([semitones[0] - 18], semitones))  # 0 Hz: one and a half octaves below bin 1
    width = np.concatenate((np.maximum(np.diff(semitones), 1), [1]))
    distance = np.remainder(semitones - np.arange(12)[:, None] + 6 + 120, 12) - 6
    weights = np.exp(-0.5 * (2 * distance / width) ** 2)
    weights /= np.linalg.norm(weights, axis=0)
    weights *= np.exp(-0.5 * ((semitones / 12 - 5) / 2) ** 2)
    return np.ascontiguousarray(np.roll(weights, -3, axis=0)[:, :BINS], np.float32)
