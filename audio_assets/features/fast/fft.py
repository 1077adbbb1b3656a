"""Spectra of many overlapping frames at once, one frame in each of eight lanes of a vector.

A frame of N real samples is transformed as N/2 complex numbers (even samples real, odd ones imaginary).
The first step of decimation in frequency, of radix 8, leaves eight independent transforms, each small
enough for the first-level cache; they run by radix-4 steps in the self-sorting order of Stockham [1]_.
A last pass splits the packed spectrum into that of the real samples. Eight frames that start one hop
apart are columns of the signal written hop by hop in rows, so after a transposition they are read as
vectors.

Arrays of vectors are flat: complex number k of a transform is ``z[16 * k : 16 * k + 8]`` (real parts of
the eight frames) and the eight numbers after it (imaginary parts).

What belongs here: transforms. What does not: windows, and what spectra are used for.

References
----------
.. [1] Van Loan. "Computational frameworks for the fast Fourier transform". SIAM, 1992.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_assets.features.fast._compiled import kernel, subroutine
from audio_assets.features.fast.simd import convert, load, spread, square_root, store, weave_high, weave_low

#: Frames transformed together.
WIDTH = 8

#: Numbers from one complex vector to the next.
STEP = 2 * WIDTH


@cache
def stage_roots(size: int, dtype: Any) -> NDArray[Any]:
    """Twiddle factors of all steps of a complex transform, in the order of use.

    Parameters
    ----------
    size : int
        Number of complex numbers.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    ndarray, flat
        cos and -sin of 2πpj/length, for each place p = 0 ... length/radix - 1 of each step those of
        j = 1 ... radix - 1. The first step has radix 8 and length `size`; the steps of a part have radix 4
        and lengths size/8, size/32, ...
    """
    steps = []
    length, radix = size, 8
    while length >= radix:
        angle = 2 * np.pi * np.arange(length // radix)[:, None] * np.arange(1, radix) / length
        steps.append(np.stack([np.cos(angle), -np.sin(angle)], axis=2).ravel())
        length, radix = length // radix, 4
    return np.concatenate(steps).astype(dtype)


@cache
def split_roots(size: int, dtype: Any) -> NDArray[Any]:
    """Roots that split a packed spectrum: cos and -sin of πk/size for k = 0 ... size/2, interleaved."""
    angle = np.pi * np.arange(size // 2 + 1) / size
    return np.stack([np.cos(angle), -np.sin(angle)], axis=1).ravel().astype(dtype)


@subroutine
def times(re, im, roots, k):  # type: ignore[no-untyped-def]
    """Complex vector times the root at place k of a table."""
    root_re = spread(roots[k], 8)
    root_im = spread(roots[k + 1], 8)
    return re * root_re - im * root_im, re * root_im + im * root_re


@subroutine
def butterfly(ar, ai, br, bi, cr, ci, dr, di):  # type: ignore[no-untyped-def]
    """Fourier transform of four complex vectors."""
    sr, si, tr, ti = ar + cr, ai + ci, ar - cr, ai - ci
    ur, ui, vr, vi = br + dr, bi + di, br - dr, bi - di
    return sr + ur, si + ui, tr + vi, ti - vr, sr - ur, si - ui, tr - vi, ti + vr


@subroutine
def sample_pair(tile, places, window, s):  # type: ignore[no-untyped-def]
    """Windowed samples s and s + 1 of the eight frames that start in the columns of a tile."""
    even = convert(load(tile, places[s], 8), window[0]) * spread(window[s], 8)
    odd = convert(load(tile, places[s + 1], 8), window[0]) * spread(window[s + 1], 8)
    return even, odd


@subroutine
def store_pair(z, place, re, im):  # type: ignore[no-untyped-def]
    """Write a complex vector."""
    store(z, place, re)
    store(z, place + WIDTH, im)


@subroutine
def first_stage(tile, places, window, roots, z):  # type: ignore[no-untyped-def]
    """Window, pack, and radix-8 step into eight parts; part j will hold coefficients j, j + 8, j + 16, ..."""
    eighth = len(window) // 16
    part = eighth * STEP
    diagonal = convert(spread(np.sqrt(0.5), 8), window[0])
    zero = diagonal - diagonal
    for p in range(eighth):
        s = 2 * p
        ar, ai = sample_pair(tile, places, window, s)
        br, bi = sample_pair(tile, places, window, s + 2 * eighth)
        cr, ci = sample_pair(tile, places, window, s + 4 * eighth)
        dr, di = sample_pair(tile, places, window, s + 6 * eighth)
        er, ei = sample_pair(tile, places, window, s + 8 * eighth)
        fr, fi = sample_pair(tile, places, window, s + 10 * eighth)
        gr, gi = sample_pair(tile, places, window, s + 12 * eighth)
        hr, hi = sample_pair(tile, places, window, s + 14 * eighth)
        ar, ai, er, ei = ar + er, ai + ei, ar - er, ai - ei
        br, bi, fr, fi = br + fr, bi + fi, br - fr, bi - fi
        cr, ci, gr, gi = cr + gr, ci + gi, cr - gr, ci - gi
        dr, di, hr, hi = dr + hr, di + hi, dr - hr, di - hi
        # eighth turns of the differences: by 1/8, 2/8, 3/8
        fr, fi = diagonal * (fr + fi), diagonal * (fi - fr)
        gr, gi = gi, zero - gr
        hr, hi = diagonal * (hi - hr), zero - diagonal * (hr + hi)
        ar, ai, br, bi, cr, ci, dr, di = butterfly(ar, ai, br, bi, cr, ci, dr, di)
        er, ei, fr, fi, gr, gi, hr, hi = butterfly(er, ei, fr, fi, gr, gi, hr, hi)
        place = p * STEP
        turn = 14 * p
        store_pair(z, place, ar, ai)
        er, ei = times(er, ei, roots, turn)
        store_pair(z, place + part, er, ei)
        br, bi = times(br, bi, roots, turn + 2)
        store_pair(z, place + 2 * part, br, bi)
        fr, fi = times(fr, fi, roots, turn + 4)
        store_pair(z, place + 3 * part, fr, fi)
        cr, ci = times(cr, ci, roots, turn + 6)
        store_pair(z, place + 4 * part, cr, ci)
        gr, gi = times(gr, gi, roots, turn + 8)
        store_pair(z, place + 5 * part, gr, gi)
        dr, di = times(dr, di, roots, turn + 10)
        store_pair(z, place + 6 * part, dr, di)
        hr, hi = times(hr, hi, roots, turn + 12)
        store_pair(z, place + 7 * part, hr, hi)


@subroutine
def load_butterfly(x, place, step):  # type: ignore[no-untyped-def]
    """Radix-4 butterfly of complex vectors `step` numbers apart."""
    return butterfly(
        load(x, place, 8),
        load(x, place + WIDTH, 8),
        load(x, place + step, 8),
        load(x, place + step + WIDTH, 8),
        load(x, place + 2 * step, 8),
        load(x, place + 2 * step + WIDTH, 8),
        load(x, place + 3 * step, 8),
        load(x, place + 3 * step + WIDTH, 8),
    )


@subroutine
def stage(x, y, length, stride, roots, offset):  # type: ignore[no-untyped-def]
    """Radix-4 step of `stride` interleaved transforms of `length`, from x to y."""
    quarter = length // 4
    for p in range(quarter):
        for q in range(stride):
            ar, ai, br, bi, cr, ci, dr, di = load_butterfly(
                x, (q + stride * p) * STEP, stride * quarter * STEP
            )
            br, bi = times(br, bi, roots, offset + 6 * p)
            cr, ci = times(cr, ci, roots, offset + 6 * p + 2)
            dr, di = times(dr, di, roots, offset + 6 * p + 4)
            place = (q + stride * 4 * p) * STEP
            out = stride * STEP
            store_pair(y, place, ar, ai)
            store_pair(y, place + out, br, bi)
            store_pair(y, place + 2 * out, cr, ci)
            store_pair(y, place + 3 * out, dr, di)


@subroutine
def last_four(x, y, size):  # type: ignore[no-untyped-def]
    """Radix-4 step that ends a transform: no twiddle factors."""
    step = size // 4 * STEP
    for place in range(0, step, STEP):
        ar, ai, br, bi, cr, ci, dr, di = load_butterfly(x, place, step)
        store_pair(y, place, ar, ai)
        store_pair(y, place + step, br, bi)
        store_pair(y, place + 2 * step, cr, ci)
        store_pair(y, place + 3 * step, dr, di)


@subroutine
def last_two(x, y, size):  # type: ignore[no-untyped-def]
    """Radix-2 step that ends a transform whose size is no power of 4."""
    half = size // 2 * STEP
    for place in range(0, half, WIDTH):
        a, b = load(x, place, 8), load(x, place + half, 8)
        store(y, place, a + b)
        store(y, place + half, a - b)


@subroutine
def transform_part(x, y, size, roots, offset):  # type: ignore[no-untyped-def]
    """Complex transform of x, in place; y is scratch of the same length."""
    length = size
    stride = 1
    in_place = True
    while length > 4:
        stage(x, y, length, stride, roots, offset)
        offset += 6 * (length // 4)
        length //= 4
        stride *= 4
        x, y = y, x
        in_place = not in_place
    if length == 4:
        last_four(x, y, size)
    else:
        last_two(x, y, size)
    if in_place:
        x[:] = y


@subroutine
def transform(tile, places, window, roots, z, scratch):  # type: ignore[no-untyped-def]
    """Packed complex transform of eight windowed frames; z holds eight parts (`first_stage`)."""
    first_stage(tile, places, window, roots, z)
    eighth = len(window) // 16
    for j in range(8):
        part = z[j * eighth * STEP : (j + 1) * eighth * STEP]
        transform_part(part, scratch, eighth, roots, 14 * eighth)


@subroutine
def coefficient(z, eighth, k):  # type: ignore[no-untyped-def]
    """Complex vector k of a packed transform in eight parts."""
    place = ((k % 8) * eighth + k // 8) * STEP
    return load(z, place, 8), load(z, place + WIDTH, 8)


@subroutine
def split_power(z, size, roots, bins, power):  # type: ignore[no-untyped-def]
    """Power spectrum of real frames from their packed transform.

    Parameters
    ----------
    z : ndarray, flat
        Packed transform of `size` complex vectors, in eight parts.
    size : int
        Half the frame length.
    roots : ndarray, flat
        `split_roots`.
    bins : int
        Only bins below this are written.
    power : ndarray of float32, flat, at least 8 * bins
        Written; bin k of the eight frames is ``power[8 * k : 8 * k + 8]``.
    """
    eighth = size // 8
    half = convert(spread(0.5, 8), z[0])
    for k in range(size // 2 + 1):
        ar, ai = coefficient(z, eighth, k)
        br, bi = coefficient(z, eighth, (size - k) % size)
        even_re, even_im = half * (ar + br), half * (ai - bi)
        odd_re, odd_im = times(half * (ai + bi), half * (br - ar), roots, 2 * k)
        if k < bins:
            re, im = even_re + odd_re, even_im + odd_im
            store(power, k * WIDTH, convert(re * re + im * im, np.float32(0)))
        if size - k < bins:
            re, im = even_re - odd_re, even_im - odd_im
            store(power, (size - k) * WIDTH, convert(re * re + im * im, np.float32(0)))


@subroutine
def transpose_8(x, place_x, step_x, y, place_y, step_y):  # type: ignore[no-untyped-def]
    """Eight rows of eight numbers to eight columns: three perfect shuffles."""
    a, b = load(x, place_x, 8), load(x, place_x + step_x, 8)
    c, d = load(x, place_x + 2 * step_x, 8), load(x, place_x + 3 * step_x, 8)
    e, f = load(x, place_x + 4 * step_x, 8), load(x, place_x + 5 * step_x, 8)
    g, h = load(x, place_x + 6 * step_x, 8), load(x, place_x + 7 * step_x, 8)
    a, b, c, d, e, f, g, h = shuffle(a, b, c, d, e, f, g, h)
    a, b, c, d, e, f, g, h = shuffle(a, b, c, d, e, f, g, h)
    a, b, c, d, e, f, g, h = shuffle(a, b, c, d, e, f, g, h)
    store(y, place_y, a)
    store(y, place_y + step_y, b)
    store(y, place_y + 2 * step_y, c)
    store(y, place_y + 3 * step_y, d)
    store(y, place_y + 4 * step_y, e)
    store(y, place_y + 5 * step_y, f)
    store(y, place_y + 6 * step_y, g)
    store(y, place_y + 7 * step_y, h)


@subroutine
def shuffle(a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """Perfect shuffle of eight vectors."""
    return (
        weave_low(a, e), weave_high(a, e), weave_low(b, f), weave_high(b, f),
        weave_low(c, g), weave_high(c, g), weave_low(d, h), weave_high(d, h),
    )  # fmt: skip


@cache
def tile_layout(frame_size: int, hop: int) -> tuple[int, NDArray[np.int64]]:
    """How eight overlapping frames lie in a tile.

    Returns
    -------
    columns : int
        Hops that eight frames reach over, in full vectors.
    places : ndarray of int64, shape (frame_size,)
        Where the samples of the first frame are found; each later frame lies one place further on.
    """
    columns = WIDTH * (1 + -(-(frame_size - hop) // (hop * WIDTH)))
    sample = np.arange(frame_size)
    return columns, sample % hop * columns + sample // hop


def samples_read(frame_size: int, hop: int, frames: int) -> int:
    """Count the samples that the transform of a multiple of eight frames reads, used or not."""
    columns, _ = tile_layout(frame_size, hop)
    return (frames - WIDTH + columns) * hop


@subroutine
def cut_tile(signal, start, hop, columns, tile):  # type: ignore[no-untyped-def]
    """Transpose the signal: sample start + c · hop + r goes to row r, column c of the tile."""
    for column in range(0, columns, WIDTH):
        for row in range(0, hop, WIDTH):
            transpose_8(signal, start + column * hop + row, hop, tile, row * columns + column, columns)


@kernel
def power_in_lanes(signal, hop, columns, places, window, stage_roots, split_roots, out):  # type: ignore[no-untyped-def]
    """Power spectra of overlapping frames, sixteen frames side by side.

    Parameters
    ----------
    signal : ndarray of float32, shape (`samples_read`,)
    hop : int
        Frame i starts at sample i · hop.
    columns, places
        `tile_layout`.
    window : ndarray of float32 or float64, shape (size,)
        Its type is the precision of the transform.
    stage_roots, split_roots : ndarray, flat
        Of size / 2, in the same precision.
    out : ndarray of float32, shape (blocks, size // 2 + 1, 16)
        Written: bin k of frame i is ``out[i // 16, k, i % 16]``.
    """
    size = len(window) // 2
    tile = np.empty(hop * columns, np.float32)
    z = np.empty(size * STEP, window.dtype)
    scratch = np.empty(size // 8 * STEP, window.dtype)
    power = np.empty((size + 1) * WIDTH, np.float32)
    flat = out.reshape(out.size)
    for block in range(2 * len(out)):
        cut_tile(signal, block * WIDTH * hop, hop, columns, tile)
        transform(tile, places, window, stage_roots, z, scratch)
        split_power(z, size, split_roots, size + 1, power)
        place = block // 2 * (size + 1) * 16 + block % 2 * WIDTH
        for k in range(size + 1):
            store(flat, place + k * 16, load(power, k * WIDTH, 8))


@kernel
def magnitudes_in_rows(signal, hop, columns, places, window, stage_roots, split_roots, out):  # type: ignore[no-untyped-def]
    """Magnitude spectra of overlapping frames, a frame in each row.

    Parameters
    ----------
    signal, hop, columns, places, window, stage_roots, split_roots
        As `power_in_lanes`.
    out : ndarray of float32, shape (a multiple of 8, bins)
        Written; bins ≤ size // 2 + 1.
    """
    size = len(window) // 2
    bins = out.shape[1]
    tile = np.empty(hop * columns, np.float32)
    z = np.empty(size * STEP, window.dtype)
    scratch = np.empty(size // 8 * STEP, window.dtype)
    power = np.empty((size + 1) * WIDTH, np.float32)
    flat = out.reshape(out.size)
    whole = bins // WIDTH * WIDTH
    for block in range(len(out) // WIDTH):
        cut_tile(signal, block * WIDTH * hop, hop, columns, tile)
        transform(tile, places, window, stage_roots, z, scratch)
        split_power(z, size, split_roots, bins, power)
        for k in range(0, bins * WIDTH, WIDTH):
            store(power, k, square_root(load(power, k, 8)))
        for k in range(0, whole, WIDTH):
            transpose_8(power, k * WIDTH, WIDTH, flat, block * WIDTH * bins + k, bins)
        for k in range(whole, bins):
            for lane in range(WIDTH):
                out[block * WIDTH + lane, k] = power[k * WIDTH + lane]
