"""Rhythm, fast: the 23 rhythm columns from spectra that are made once a track.

Task and conventions are those of `audio_assets.features.reference.rhythm`, whose functions call the
libraries and are the oracle for these.

What does not belong here: onset functions (`onset_scan`, `onset_functions`), beats (`beats`), tempo
(`tempo`).

References
----------
.. [1] Guaus, Herrera. "The rhythm transform: towards a generic rhythm description". ICMC, 2005.
.. [2] Bogdanov et al. "Essentia: an audio analysis library for music information retrieval". ISMIR, 2013.
   (loudness at the beats)
"""

from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from audio_assets.features._numeric import SAMPLE_RATE_HZ
from audio_assets.features.fast._compiled import kernel
from audio_assets.features.fast.beats import track_beats
from audio_assets.features.fast.float32 import ZERO, add_weighted
from audio_assets.features.fast.onset_scan import OnsetScan
from audio_assets.features.fast.power_scan import PowerScan
from audio_assets.features.fast.spectra import normalized_window, stretch
from audio_assets.features.fast.tempo import onset_columns
from audio_assets.features.records import RhythmFeatures
from audio_assets.features.summaries import (
    BEAT_BANDS_HZ,
    beat_loudness_columns,
    histogram_columns,
    interval_columns,
    rhythm_transform_columns,
)

TRANSFORM_SIZE, TRANSFORM_HOP = 8, 4

#: Around a beat, samples: where its onset is looked for, and what is analysed from there on.
BEAT_SEARCH, BEAT_SIZE = 4410, 2206

#: Beats whose samples are copied at a time.
BEATS_AT_ONCE = 256

#: A beat below this energy has no bands.
AUDIBLE_ENERGY = np.float32(1e-10)


def rhythm_features(samples: NDArray[np.float32], power: PowerScan, scan: OnsetScan) -> RhythmFeatures:
    """Compute the 23 rhythm columns.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        Mono at 44,100 Hz, finite, at least one second, not silent.
    power : PowerScan
        Of the track.
    scan : OnsetScan
        Of the track.

    Returns
    -------
    RhythmFeatures
        As the reference's.
    """
    beats_s = track_beats(scan.functions)
    intervals_s = np.diff(beats_s)
    return RhythmFeatures(
        **onset_columns(power.mean_rises_db, power.median_rises_db),
        **interval_columns(intervals_s),
        **histogram_columns(intervals_s),
        **rhythm_transform_columns(rhythm_transform(scan.mel, *transform_matrix(), TRANSFORM_HOP)),
        **beat_loudness_columns(*beat_loudness(samples, beats_s)),
    )


@cache
def transform_matrix() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Windowed rows of the Fourier matrix of 8 points."""
    window = normalized_window("blackmanharris62", TRANSFORM_SIZE)
    samples = np.arange(TRANSFORM_SIZE)
    turn = np.outer(samples[: TRANSFORM_SIZE // 2 + 1], samples) * 2 * np.pi / TRANSFORM_SIZE
    return (np.cos(turn) * window).astype(np.float32), (np.sin(turn) * window).astype(np.float32)


@kernel(fastmath=True)
def rhythm_transform(bands, window_cos, window_sin, hop):  # type: ignore[no-untyped-def]
    """Rhythm transform (Guaus, Herrera 2005): power spectra of the bands' differences, summed over bands.

    Parameters
    ----------
    bands : ndarray of float32, shape (frames, bands)
    window_cos, window_sin : ndarray of float32, shape (bins, size)
        The windowed rows of the Fourier matrix.
    hop : int
        Distance between analysed frames. The last are padded with zeros.

    Returns
    -------
    ndarray of float32, shape (ceil(frames / hop), bins)
    """
    frames, width = bands.shape
    bins, size = window_cos.shape
    rises = np.zeros((frames + size, width), np.float32)
    for t in range(1, frames):
        for b in range(width):
            rises[t, b] = bands[t, b] - bands[t - 1, b]
    out = np.zeros(((frames + hop - 1) // hop, bins), np.float32)
    real, imag = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(out.shape[0]):
        for k in range(bins):
            real[:] = ZERO
            imag[:] = ZERO
            for j in range(size):
                add_weighted(real, rises[row * hop + j], window_cos[k, j])
                add_weighted(imag, rises[row * hop + j], window_sin[k, j])
            total = ZERO
            for b in range(width):
                total += real[b] * real[b] + imag[b] * imag[b]
            out[row, k] = total
    return out


def beat_loudness(
    samples: NDArray[np.float32], beats_s: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Energy at the beats and its shares in bands, as essentia's BeatsLoudness [2]_ defines them.

    The 50 ms from the loudest sample in the 100 ms around a beat on, Blackman-Harris window.

    Parameters
    ----------
    samples : ndarray of float32, shape (n,)
        The track.
    beats_s : ndarray of float32, shape (beats,)
        Times of the beats.

    Returns
    -------
    loudness : ndarray of float32, shape (k,)
        Of the beats whose surroundings lie inside the track.
    ratios : ndarray of float32, shape (k, 5)
        Shares in `BEAT_BANDS_HZ`.
    """
    starts = beat_starts(beats_s, len(samples))
    loudness = np.empty(len(starts), np.float32)
    ratios = np.empty((len(starts), len(BEAT_BANDS_HZ) - 1), np.float32)
    window = normalized_window("blackmanharris62", BEAT_SIZE)
    edges = np.array(BEAT_BANDS_HZ) / (SAMPLE_RATE_HZ / 2) * (BEAT_SIZE // 2) + 0.5
    for first in range(0, len(starts), BEATS_AT_ONCE):
        here = slice(first, first + BEATS_AT_ONCE)
        around = np.array([stretch(samples, start, BEAT_SEARCH + BEAT_SIZE) for start in starts[here]])
        spectrum = scipy.fft.rfft(beat_segments(around, BEAT_SEARCH, window)).view(np.float32)
        beat_energies(spectrum, edges.astype(np.int64), loudness[here], ratios[here])
    return loudness, ratios


def beat_starts(beats_s: NDArray[np.float32], samples: int) -> NDArray[np.int64]:
    """First sample of the neighbourhood of each beat whose slice lies inside the track, times in float32."""
    starts_s = (beats_s - 0.05).astype(np.float32)
    ends_s = (beats_s + 0.101).astype(np.float32)
    late = np.maximum(-starts_s, np.float32(0))
    starts_s, ends_s = starts_s + late, ends_s + late
    starts = (starts_s * np.float32(SAMPLE_RATE_HZ) + 0.5).astype(np.int64)
    ends = starts + ((ends_s - starts_s) * np.float32(SAMPLE_RATE_HZ) + 0.5).astype(np.int64)
    return starts[ends <= samples]


@kernel
def beat_segments(around, search, window):  # type: ignore[no-untyped-def]
    """Windowed segments that begin with the loudest sample of each beat's neighbourhood [2]_.

    Parameters
    ----------
    around : ndarray of float32, shape (beats, search + size)
        Samples from the beginning of each neighbourhood on.
    search : int
        Length of a neighbourhood.
    window : ndarray of float32, shape (size,)

    Returns
    -------
    ndarray of float32, shape (beats, size)
    """
    out = np.empty((around.shape[0], window.shape[0]), np.float32)
    for beat in range(around.shape[0]):
        best, loudest = 0, ZERO
        for i in range(search):
            power = around[beat, i] * around[beat, i]
            if power > loudest:
                best, loudest = i, power
        for i in range(window.shape[0]):
            out[beat, i] = around[beat, best + i] * window[i]
    return out


@kernel
def beat_energies(spectrum, edges, energies, ratios):  # type: ignore[no-untyped-def]
    """Energy of each beat's spectrum, and the shares of its bands [2]_.

    Parameters
    ----------
    spectrum : ndarray of float32, shape (beats, 2 · bins)
        Interleaved real and imaginary parts.
    edges : ndarray of int64, shape (bands + 1,)
        Bins of the bands' edges, both of which belong to a band.
    energies : ndarray of float32, shape (beats,)
        Written; the sum runs bin after bin in float32.
    ratios : ndarray of float32, shape (beats, bands)
        Written; 0 for a beat that is not audible.
    """
    power = np.empty(spectrum.shape[1] // 2, np.float32)
    for beat in range(spectrum.shape[0]):
        total = ZERO
        for k in range(power.shape[0]):
            re, im = spectrum[beat, 2 * k], spectrum[beat, 2 * k + 1]
            magnitude = np.sqrt(re * re + im * im)
            power[k] = magnitude * magnitude
            total += power[k]
        energies[beat] = total
        for band in range(ratios.shape[1]):
            share = ZERO
            if total > AUDIBLE_ENERGY:
                for k in range(edges[band], edges[band + 1] + 1):
                    share += power[k]
                share /= total
            ratios[beat, band] = share
