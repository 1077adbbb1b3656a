"""One pass over the frames of 2048 samples for beats and rhythm transform: sixteen frames side by side.

Task: from packed transforms (`fft`) to magnitudes, phase-based onset functions, levels and bands. Arrays
are flat, bin by bin with sixteen lanes for consecutive frames; where history is needed, four lanes stand
before them.

What does not belong here: the transform itself; onset functions that need no phases (`onset_functions`).
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ
from audio_assets.features.fast import fft, spectra
from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.fft import coefficient, cut_tile, times, transform, transpose_8
from audio_assets.features.fast.lanes import LANES
from audio_assets.features.fast.onset_functions import (
    INFOGAIN_HISTORY,
    amplitude_db,
    beat_emphasis,
    information_gain,
    rising,
    rising_sum,
)
from audio_assets.features.fast.peaks import inharmonicities
from audio_assets.features.fast.simd import convert, spread, store
from audio_assets.features.fast.spectra import (
    BINS,
    FRAME,
    HOP,
    blocks,
    normalized_window,
    roots,
    rounded_up,
    stretch,
)

#: Length of the packed transform.
HALF = 1024

#: Lanes for the frames before a block.
HISTORY = 4

WIDE = HISTORY + LANES

#: Bins of 40 Hz and 5 kHz, the range of the information gain.
INFOGAIN_BINS = (2, 233)

#: Lowest frequency and number of peaks that the inharmonicity looks at.
FIRST_PEAK_HZ = 20
MOST_PEAKS = 50

BIN_HZ = SAMPLE_RATE_HZ / FRAME

EMPHASIS_BANDS = 40

MEL_BANDS = 40


@dataclass(frozen=True)
class OnsetScan:
    """What one pass over the frames of 2048 samples gives.

    Parameters
    ----------
    inharmonicity : ndarray of float64, shape (whole frames,)
        At hop 512, from the first sample on; -1 for a frame with fewer than two peaks.
    mel : ndarray of float32, shape (whole frames at hop 1024, 40)
        Energies in 40 mel bands up to 22,050 Hz.
    functions : dict of str to ndarray of float32
        Onset detection functions: "infogain" and "beat_emphasis" at hop 512, "melflux", "rms" and
        "complex" at hop 1024.
    """

    inharmonicity: NDArray[np.float64]
    mel: NDArray[np.float32]
    functions: dict[str, NDArray[np.float32]]


def scan_onsets(samples: NDArray[np.float32]) -> OnsetScan:
    """Transform all frames once and derive the five onset detection functions of the beat tracker.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, at least 2048 samples.

    Returns
    -------
    OnsetScan
    """
    length = len(samples)
    fine, coarse = frame_count(length, HOP), frame_count(length, 2 * HOP)
    whole_frames = 1 + (length - FRAME) // HOP
    emphasis = np.empty((rounded_up(max(fine, 2 * coarse - 1), LANES), EMPHASIS_BANDS), np.float32)
    complex_odf, levels = np.empty((2, coarse), np.float32)
    low_mel, full_mel = np.empty((2, coarse, MEL_BANDS), np.float32)
    infogain, inharmonicity = np.empty(fine, np.float32), np.empty(whole_frames)
    magnitudes = np.zeros((INFOGAIN_HISTORY + spectra.BLOCK_FRAMES, BINS), np.float32)
    tables: Any = scan_tables()
    state = silent_past()
    for first, count in blocks(len(emphasis)):
        here, halved = slice(first, first + count), slice(first // 2, (first + count) // 2)
        block = (complex_odf[halved], levels[halved], low_mel[halved], full_mel[halved])
        signal = stretch(samples, first * HOP, fft.samples_read(FRAME, HOP, count))
        scan_frames(signal, *tables, state, (magnitudes[INFOGAIN_HISTORY:], emphasis[here], *block))
        information_gain(magnitudes, *INFOGAIN_BINS, infogain[here])
        whole = inharmonicity[here]
        inharmonicities(
            magnitudes[INFOGAIN_HISTORY : INFOGAIN_HISTORY + len(whole)],
            np.float32(BIN_HZ),
            int(np.ceil(FIRST_PEAK_HZ / BIN_HZ)),
            np.float32(SAMPLE_RATE_HZ / 2),
            MOST_PEAKS,
            whole,
        )
        magnitudes[:INFOGAIN_HISTORY] = magnitudes[count : count + INFOGAIN_HISTORY]
        low_mel[halved] = amplitude_db(low_mel[halved])
    return OnsetScan(
        inharmonicity,
        full_mel[: 1 + (length - FRAME) // (2 * HOP)],
        {
            "infogain": infogain,
            "beat_emphasis": beat_emphasis(emphasis[:fine]),
            "melflux": rising_sum(low_mel),
            "rms": rising(levels),
            "complex": complex_odf,
        },
    )


@cache
def scan_tables() -> tuple[Any, ...]:
    """Everything of `scan_frames` that is the same for every track."""
    return (
        *fft.tile_layout(FRAME, HOP),
        normalized_window("hann", FRAME).astype(np.float64),
        *roots(FRAME, np.float64),
        gammatone_bank(),
        mel_bank(4000),
        mel_bank(SAMPLE_RATE_HZ / 2),
    )


def silent_past() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Magnitudes, cosines and sines as `polar_of_16` leaves them after silence."""
    cosines = np.ones((BINS, WIDE), np.float32)
    cosines[1::2] = -1
    return np.zeros(BINS * WIDE, np.float32), cosines.ravel(), np.zeros(BINS * WIDE, np.float32)


def frame_count(samples: int, hop: int) -> int:
    """Frames from sample 0 until one reaches the end; that one may be padded."""
    return max(0, -(-(samples - FRAME) // hop)) + 1


def probe_filters(algorithm: Any) -> NDArray[np.float32]:
    """Response of a linear filter bank to each bin alone, shape (bins, bands).

    The banks are essentia's own, read off once a process: their weights carry float32 rounding that
    beat decisions depend on.
    """
    return np.array([algorithm(row) for row in np.eye(BINS, dtype=np.float32)])


@cache
def gammatone_bank() -> NDArray[np.float32]:
    """Magnitude responses of 40 gammatone filters from 80 Hz on, shape (40, 1025)."""
    from audio_assets.features._essentia import es

    responses = probe_filters(
        es.ERBBands(
            inputSize=BINS,
            numberBands=EMPHASIS_BANDS,
            lowFrequencyBound=80,
            highFrequencyBound=SAMPLE_RATE_HZ / 2,
            type="magnitude",
        )
    )
    return np.ascontiguousarray(responses.T)


@cache
def mel_bank(high_hz: float) -> tuple[NDArray[Any], ...]:
    """40 mel triangles from 0 Hz on, packed for `bands_of_16`."""
    from audio_assets.features._essentia import es

    bank = es.MelBands(inputSize=BINS, numberBands=MEL_BANDS, lowFrequencyBound=0, highFrequencyBound=high_hz)
    return packed_bands(probe_filters(bank).T)


def packed_bands(filters: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
    """Strip filters of the zeros around them, in groups of four bins, as the loops here read them.

    Parameters
    ----------
    filters : ndarray, shape (bands, 1025)

    Returns
    -------
    first : ndarray of uint32, shape (bands,)
        First bin; unsigned, so that no loop has to ask for negative indices.
    fours : ndarray of uint32, shape (bands,)
        Number of groups.
    weights : ndarray
        All groups one after the other.
    """
    first, fours, weights = [], [], []
    for row in filters:
        used = np.flatnonzero(row)
        count = -(-(used[-1] + 1 - used[0]) // 4)
        start = min(used[0], len(row) - 4 * count)
        first.append(start)
        fours.append(count)
        weights.append(row[start : start + 4 * count])
    return np.array(first, np.uint32), np.array(fours, np.uint32), np.concatenate(weights)


@subroutine
def split_complex(z, roots, lane, re, im):  # type: ignore[no-untyped-def]
    """Spectra of eight real frames from their packed transform.

    Parameters
    ----------
    z : ndarray of float64, flat
        From `fft.transform`.
    roots : ndarray of float64, flat
        `fft.split_roots`.
    lane : int
        Where the eight frames go among the sixteen: 0 or 8.
    re, im : ndarray of float32, shape (1025 · 16,)
        Written: bin k of lane l at 16·k + l.
    """
    half, single = spread(0.5, 8), np.float32(0)
    for k in range(HALF // 2 + 1):
        ar, ai = coefficient(z, HALF // 8, k)
        br, bi = coefficient(z, HALF // 8, (HALF - k) % HALF)
        even_re, even_im = half * (ar + br), half * (ai - bi)
        odd_re, odd_im = times(half * (ai + bi), half * (br - ar), roots, 2 * k)
        store(re, k * LANES + lane, convert(even_re + odd_re, single))
        store(im, k * LANES + lane, convert(even_im + odd_im, single))
        store(re, (HALF - k) * LANES + lane, convert(even_re - odd_re, single))
        store(im, (HALF - k) * LANES + lane, convert(odd_im - even_im, single))


@subroutine(fastmath={"contract", "nnan", "ninf", "nsz"})
def polar_of_16(re, im, power, magnitudes, cosines, sines):  # type: ignore[no-untyped-def]
    """Power, magnitude and unit phasor, which spares every arc tangent later.

    Parameters
    ----------
    re, im : ndarray of float32, shape (1025 · 16,)
    power : ndarray of float32, shape (1025 · 16,)
        Written.
    magnitudes, cosines, sines : ndarray of float32, shape (1025 · 20,)
        Written: bin k of lane l at 20·k + 4 + l; the four lanes before receive the last frames of before. A
        bin of magnitude 0 gets the phase 0.
    """
    tiny, zero, one = np.float32(1e-30), np.float32(0), np.float32(1)
    for k in range(HALF + 1):
        wide, at = k * WIDE, k * LANES
        silent = one - np.float32(2 * (k % 2))
        for q in range(HISTORY):
            magnitudes[wide + q] = magnitudes[wide + q + LANES]
            cosines[wide + q] = cosines[wide + q + LANES]
            sines[wide + q] = sines[wide + q + LANES]
        for q in range(LANES):
            x, y = re[at + q], im[at + q]
            squared = x * x + y * y
            magnitude = np.sqrt(squared)
            inverse = one / max(magnitude, tiny)
            power[at + q] = squared
            magnitudes[wide + HISTORY + q] = magnitude
            cosines[wide + HISTORY + q] = x * inverse if magnitude > zero else silent
            sines[wide + HISTORY + q] = y * inverse


@subroutine(fastmath={"contract", "nnan", "ninf", "nsz"})
def differences_of_16(magnitudes, cosines, sines, emphasis, totals):  # type: ignore[no-untyped-def]
    """Both phase-based onset functions: how far a bin is from where its phase was heading.

    Complex-domain difference (Bello et al. 2004): Σ |S₁ - S·exp(i(φ - 2φ₁ + φ₂))| over steps of two frames.
    Beat emphasis (Davies, Plumbley, Eck 2009): the same squared, bin by bin over steps of one frame; the
    reference implementation adds φ₂ where the paper subtracts it, and so does this. Target phases are
    taken off by multiplying conjugate phasors.

    Parameters
    ----------
    magnitudes, cosines, sines : ndarray of float32, shape (1025 · 20,)
        From `polar_of_16`.
    emphasis : ndarray of float32, shape (1025 · 16,)
        Written.
    totals : ndarray of float32, shape (16,)
        Written: the complex-domain difference of each frame from the second before; only every other one
        is wanted.
    """
    two = np.float32(2)
    for q in range(LANES):
        totals[q] = np.float32(0)
    for k in range(HALF + 1):
        wide, at = k * WIDE + HISTORY, k * LANES
        for q in range(LANES):
            i = wide + q
            a, b, c, d = cosines[i - 1], sines[i - 1], cosines[i - 2], sines[i - 2]
            double_re, double_im = a * a - b * b, two * a * b
            target_re, target_im = double_re * c - double_im * d, double_re * d + double_im * c
            turned_re = cosines[i] * target_re + sines[i] * target_im
            turned_im = sines[i] * target_re - cosines[i] * target_im
            x, y = magnitudes[i - 1] - magnitudes[i] * turned_re, magnitudes[i] * turned_im
            emphasis[at + q] = x * x + y * y
        for q in range(LANES):
            i = wide + q
            a, b, c, d = cosines[i - 2], sines[i - 2], cosines[i - 4], sines[i - 4]
            double_re, double_im = a * a - b * b, two * a * b
            target_re, target_im = double_re * c + double_im * d, double_im * c - double_re * d
            turned_re = cosines[i] * target_re + sines[i] * target_im
            turned_im = sines[i] * target_re - cosines[i] * target_im
            x, y = magnitudes[i - 2] - magnitudes[i] * turned_re, magnitudes[i] * turned_im
            totals[q] += np.sqrt(x * x + y * y)


@subroutine(fastmath={"contract"})
def bands_of_16(power, first, fours, weights, frame, out):  # type: ignore[no-untyped-def]
    """Σ weight · power in each band, of every second frame.

    Parameters
    ----------
    power : ndarray of float32, shape (1025 · 16,)
    first, fours, weights
        Bands as `packed_bands` makes them.
    frame : int
        The first of the sixteen frames.
    out : ndarray of float32, shape (half the frames, bands)
        Written, as far as it goes.
    """
    sums = np.empty(LANES, np.float32)
    count = min(LANES // 2, out.shape[0] - frame // 2)
    at = 0
    for band in range(first.shape[0]):
        for q in range(LANES):
            sums[q] = np.float32(0)
        base = np.int64(first[band]) * LANES
        for _ in range(fours[band]):
            w_0, w_1, w_2, w_3 = weights[at], weights[at + 1], weights[at + 2], weights[at + 3]
            for q in range(LANES):
                low = w_0 * power[base + q] + w_1 * power[base + LANES + q]
                high = w_2 * power[base + 2 * LANES + q] + w_3 * power[base + 3 * LANES + q]
                sums[q] += low + high
            at += 4
            base += 4 * LANES
        for lane in range(count):
            out[frame // 2 + lane, band] = sums[2 * lane]


@subroutine
def write_magnitudes(magnitudes, frame, out):  # type: ignore[no-untyped-def]
    """Turn the lanes into rows: out[frame + l, k]; `out` has room for all sixteen."""
    bins = HALF + 1
    flat = out.reshape(out.size)
    for lane in range(0, LANES, 8):
        row = (frame + lane) * bins
        for k in range(0, HALF, 8):
            transpose_8(magnitudes, k * WIDE + HISTORY + lane, WIDE, flat, row + k, bins)
    for lane in range(LANES):
        flat[(frame + lane) * bins + HALF] = magnitudes[HALF * WIDE + HISTORY + lane]


@subroutine
def level_of_16(power, totals):  # type: ignore[no-untyped-def]
    """Root of the summed power over the number of bins, of each lane (the reference's "rms")."""
    for q in range(LANES):
        totals[q] = power[HALF * LANES + q]
    for k in range(0, HALF, 4):
        at = k * LANES
        for q in range(LANES):
            low = power[at + q] + power[at + LANES + q]
            totals[q] += low + (power[at + 2 * LANES + q] + power[at + 3 * LANES + q])
    for q in range(LANES):
        totals[q] = np.sqrt(totals[q]) / np.float32(HALF + 1)


@kernel
def scan_frames(  # type: ignore[no-untyped-def]
    signal, columns, places, window, stage_roots, split_roots, gammatone, low_mel, full_mel, state, out
):
    """One pass over the frames of 2048 samples every 512: all that beats and rhythm transform need of them.

    Transformed in float64, because the inharmonicity is relative to the lowest peak, however faint.

    Parameters
    ----------
    signal : ndarray of float32, shape (`fft.samples_read`,)
        From the first sample of the first frame on.
    columns, places
        `fft.tile_layout`.
    window : ndarray of float64, shape (2048,)
    stage_roots, split_roots : ndarray of float64, flat
        From `fft`, for 1024.
    gammatone : ndarray of float32, shape (40, 1025)
    low_mel, full_mel : tuple of (first, fours, weights)
        As `bands_of_16` takes them.
    state : tuple of ndarray of float32, shape (1025 · 20,)
        Magnitudes, cosines and sines that the frames before left behind; those of the last sixteen
        frames when done.
    out : tuple of ndarray of float32
        Written: magnitudes (at least frames, 1025); beat emphasis in bands (frames, 40), frames a multiple
        of 16; complex-domain difference and level of every second frame; its energies in both sets of
        mel bands.
    """
    magnitudes_out, emphasis_out, complex_out, level_out, low_out, full_out = out
    magnitudes, cosines, sines = state
    size = (HALF + 1) * LANES
    tile = np.empty(HOP * columns, np.float32)
    z, scratch = np.empty(2 * 8 * HALF), np.empty(2 * HALF)
    re, im, power = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    totals = np.empty(LANES, np.float32)
    for frame in range(0, emphasis_out.shape[0], LANES):
        for lane in range(0, LANES, 8):
            cut_tile(signal, HOP * (frame + lane), HOP, columns, tile)
            transform(tile, places, window, stage_roots, z, scratch)
            split_complex(z, split_roots, lane, re, im)
        polar_of_16(re, im, power, magnitudes, cosines, sines)
        write_magnitudes(magnitudes, frame, magnitudes_out)
        count = min(LANES // 2, complex_out.shape[0] - frame // 2)
        emphasis = re
        differences_of_16(magnitudes, cosines, sines, emphasis, totals)
        for lane in range(count):
            complex_out[frame // 2 + lane] = totals[2 * lane]
        level_of_16(power, totals)
        for lane in range(count):
            level_out[frame // 2 + lane] = totals[2 * lane]
        bands_of_16(power, low_mel[0], low_mel[1], low_mel[2], frame, low_out)
        bands_of_16(power, full_mel[0], full_mel[1], full_mel[2], frame, full_out)
        in_bands = np.dot(gammatone, emphasis.reshape(HALF + 1, LANES))
        for lane in range(LANES):
            for band in range(in_bands.shape[0]):
                emphasis_out[frame + lane, band] = in_bands[band, lane]
