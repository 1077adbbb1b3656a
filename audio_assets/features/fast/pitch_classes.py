"""From spectral peaks to pitch classes: HPCP, and the whitened profile that the key is read from.

What belongs here: loops over peaks and notes. What does not: constants with a musical meaning (they come
as arguments from `tonal`).
"""

import math

import numpy as np

from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.peaks import cut_to_strongest, spectral_peaks

#: Octaves below 440 Hz that no frequency is outside of, and 2^-e at place e + `LOWEST_OCTAVE`.
LOWEST_OCTAVE = 8
POWERS_OF_2 = 2.0 ** (LOWEST_OCTAVE - np.arange(16))

#: Decibel of a magnitude's natural logarithm.
DECIBEL = 20 / math.log(10)


@kernel
def hpcp_profiles(magnitudes, bin_hz, first, min_hz, split_hz, max_hz, threshold, most, out):  # type: ignore[no-untyped-def]
    """Harmonic pitch class profile of every frame, bin 0 = A (440 Hz), each frame of sum 1 [1]_.

    A peak adds its energy to the nearest semitone, weighted by cos² of its distance (half a semitone: 0). The
    peaks below and above `split_hz` are normalised to sum 1 apart, so that neither register drowns the other.

    Parameters
    ----------
    magnitudes : ndarray of float32, shape (frames, bins)
        Magnitude spectra.
    bin_hz, first, max_hz, threshold
        As `spectral_peaks`.
    min_hz : float
        Lowest frequency that counts.
    split_hz : float
        Border of the two registers.
    most : int
        Only this many of the highest peaks count.
    out : ndarray of float64, shape (frames, 12)
        Written; zeros for a frame without peaks.

    References
    ----------
    .. [1] Gómez. "Tonal description of polyphonic audio for music content processing". INFORMS J. on
       Computing 18(3), 2006.
    """
    hz = np.empty(magnitudes.shape[1], np.float32)
    heights = np.empty(magnitudes.shape[1], np.float32)
    semitones = np.empty(magnitudes.shape[1])
    weights = np.empty(magnitudes.shape[1])
    registers = np.empty((2, 12))
    for row in range(len(magnitudes)):
        count = spectral_peaks(magnitudes[row], bin_hz, first, max_hz, threshold, hz, heights)
        count = cut_to_strongest(hz, heights, count, most)
        semitones_above_a(hz[:count], semitones)
        cosines_of_distance(semitones[:count], weights)
        registers[:] = 0
        for i in range(count):
            if hz[i] >= min_hz:
                register = 0 if hz[i] < split_hz else 1
                note = math.floor(semitones[i] + 0.5) % 12
                registers[register, note] += weights[i] ** 2 * np.float64(heights[i]) ** 2
        out[row] = 0
        for register in range(2):
            total = registers[register].sum()
            if total > 0:
                out[row] += registers[register] / total
        total = out[row].sum()
        if total > 0:
            out[row] /= total


@subroutine
def semitones_above_a(hz, out):  # type: ignore[no-untyped-def]
    """Twelve times log2(hz / 440) of positive float32 frequencies, rounded to float32 where essentia rounds.

    It rounds the ratio, its natural logarithm, the octaves and the semitones, which moves a peak by up to
    5e-6 semitones. That shows where a pitch class has its energy from peaks half-way to the next: the weight
    there is small and steep.

    With ratio = 2^e · m and z = (m - 1) / (m + 1), ln(ratio) = e ln 2 + 2 atanh(z); the series of atanh ends
    at z^15, an error below 1e-12. No function is called, so eight peaks are computed at once.
    """
    ratios = hz / np.float32(440)
    bits = ratios.view(np.int32)
    octave = math.log(2)
    for i in range(len(hz)):
        exponent = (bits[i] - 0x3F3504F3) >> 23  # the mantissa is in [sqrt(1/2), sqrt(2))
        mantissa = np.float64(ratios[i]) * np.float64(POWERS_OF_2[exponent + LOWEST_OCTAVE])
        z = (mantissa - 1) / (mantissa + 1)
        s = z * z
        series = 1 + s * (
            1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * (1 / 11 + s * (1 / 13 + s / 15)))))
        )
        logarithm = np.float32(exponent * octave + 2 * z * series)
        octaves = np.float32(np.float64(logarithm) / octave)
        out[i] = octaves * np.float32(12)


@subroutine
def cosines_of_distance(semitones, out):  # type: ignore[no-untyped-def]
    """Cosine of π times the distance to the nearest integer, 1 to 0; Taylor series, error below 1e-10."""
    for i in range(len(semitones)):
        distance = semitones[i] - math.floor(semitones[i] + 0.5)
        s = (math.pi * distance) ** 2
        out[i] = 1 - s / 2 * (
            1
            - s
            / 12
            * (1 - s / 30 * (1 - s / 56 * (1 - s / 90 * (1 - s / 132 * (1 - s / 182 * (1 - s / 240))))))
        )


@subroutine
def whitened(heights, hz, envelope_db, step_hz):  # type: ignore[no-untyped-def]
    """Magnitudes of peaks relative to the spectral envelope, in place [1]_.

    Peaks on the envelope or above get 0 dB, those at most 30 dB below it keep the difference, others vanish
    (-200 dB); everything falls by 5 dB per 1000 Hz.

    Parameters
    ----------
    heights, hz : ndarray of float32, shape (peaks,)
        Magnitudes and frequencies of the peaks.
    envelope_db : ndarray of float64, shape (points,)
        Envelope at 0, step, 2 step, ... Hz, linear in between.
    step_hz : float
        Distance of the points.

    References
    ----------
    .. [1] Röbel, Rodet. "Efficient spectral envelope estimation and its application to pitch shifting and
       envelope preservation". DAFx, 2005.
    """
    for i in range(len(hz)):
        place = hz[i] / step_hz
        left = int(place)
        envelope = envelope_db[left] + (place - left) * (envelope_db[left + 1] - envelope_db[left])
        below = DECIBEL * math.log(max(heights[i], 1e-10)) - envelope
        level = 0.0 if below > 0 else below if below > -30 else -200.0
        heights[i] = math.exp((level - hz[i] / 200) / DECIBEL)


@kernel
def key_profile(  # type: ignore[no-untyped-def]
    magnitudes, envelopes_db, step_hz, bin_hz, first, min_hz, max_hz, threshold, most, harmonics, out
):
    """Sum over frames of the whitened pitch class profile from which the key is estimated [1]_.

    Every peak also speaks for the notes whose harmonic it may be.

    Parameters
    ----------
    magnitudes : ndarray of float32, shape (frames, bins)
        Magnitude spectra.
    envelopes_db : ndarray of float64, shape (frames, points)
        See `whitened`.
    bin_hz, first, min_hz, max_hz, threshold, most
        As `hpcp_profiles`.
    harmonics : ndarray of float64, shape (n, 2)
        Semitones between note and harmonic (modulo octaves), weight of that relation.
    out : ndarray of float64, shape (12,)
        Added to; bin 0 is A.

    References
    ----------
    .. [1] Faraldo et al. "Key estimation in electronic dance music". ECIR, 2016.
    """
    hz = np.empty(magnitudes.shape[1], np.float32)
    heights = np.empty(magnitudes.shape[1], np.float32)
    semitones = np.empty(most)
    weights = np.empty(most)
    for row in range(len(magnitudes)):
        count = spectral_peaks(magnitudes[row], bin_hz, first, max_hz, threshold, hz, heights)
        count = cut_to_strongest(hz, heights, count, most)
        whitened(heights[:count], hz[:count], envelopes_db[row], step_hz)
        semitones_above_a(hz[:count], semitones)
        for j in range(len(harmonics)):
            notes = semitones[:count] - harmonics[j, 0]
            cosines_of_distance(notes, weights)
            for i in range(count):
                if hz[i] >= min_hz:
                    energy = (np.float64(heights[i]) * harmonics[j, 1]) ** 2
                    out[math.floor(notes[i] + 0.5) % 12] += weights[i] * energy


@kernel(fastmath=True)
def envelopes(magnitudes, first, weights, length, out):  # type: ignore[no-untyped-def]
    """Spectral envelope: the energy around a point, averaged with the energy itself as a further weight.

    Parameters
    ----------
    magnitudes : ndarray of float32, shape (frames, bins)
        Magnitude spectra.
    first, length : ndarray of int64, shape (points,)
        Point m weighs bin ``first[m] + i`` with ``weights[m, i]``, i below ``length[m]``.
    weights : ndarray of float64, shape (points, longest)
        Weights around each point.
    out : ndarray of float64, shape (frames, points)
        Written: mean energy, 0 in silence.
    """
    energy = np.empty(magnitudes.shape[1])
    for row in range(len(magnitudes)):
        for k in range(len(energy)):
            energy[k] = np.float64(magnitudes[row, k]) * magnitudes[row, k]
        for point in range(len(first)):
            near = energy[first[point] : first[point] + length[point]]
            weight = weights[point, : length[point]]
            total = 0.0
            weighted = 0.0
            for i in range(len(near)):
                total += weight[i] * near[i]
                weighted += weight[i] * near[i] * near[i]
            out[row, point] = weighted / total if total > 0 else 0.0
