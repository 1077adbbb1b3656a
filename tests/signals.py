"""Synthetic music with a known answer, and files damaged in a known way."""

import struct
from pathlib import Path

import numpy as np

RATE_HZ = 44_100


def times(duration_s, rate_hz=RATE_HZ):
    return np.arange(int(duration_s * rate_hz)) / rate_hz


def drone(duration_s=5.0, frequency_hz=220.0, rate_hz=RATE_HZ):
    return (0.3 * np.sin(2 * np.pi * frequency_hz * times(duration_s, rate_hz))).astype(np.float32)


def click_track(bpm, duration_s=20.0):
    """Short decaying bursts of noise on every beat, a faint bed of noise below them."""
    rng = np.random.default_rng(0)
    samples = 1e-3 * rng.standard_normal(int(duration_s * RATE_HZ))
    burst = rng.standard_normal(2205) * np.exp(-np.arange(2205) / 300)
    for start in np.arange(0.1, duration_s - 0.1, 60 / bpm):
        at = int(start * RATE_HZ)
        samples[at : at + len(burst)] += 0.4 * burst
    return samples.astype(np.float32)


def tone(semitones_above_c4, duration_s, partials=5):
    """One decaying note of a few harmonics."""
    t = times(duration_s)
    frequency_hz = 261.6256 * 2 ** (semitones_above_c4 / 12)
    wave = sum(np.sin(2 * np.pi * frequency_hz * k * t) / k**1.5 for k in range(1, partials + 1))
    return wave * np.exp(-1.5 * t) * np.minimum(1, t / 0.01)


def cadence(tonic, minor, chord_s=0.8, repeats=2):
    """I-IV-V-I (i-iv-V-i in minor) with the root in the bass; tonic in semitones above C."""
    third = 3 if minor else 4
    chords = [(0, third, 7), (5, 5 + third, 12), (7, 11, 14), (0, third, 7)]
    bars = []
    for chord in chords * repeats:
        notes = [tone(tonic + note - 12 * (tonic > 6), chord_s) for note in chord]
        bars.append(sum(notes) + 1.2 * tone(tonic + chord[0] - 24, chord_s))
    samples = np.concatenate(bars)
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def song(duration_s=10.0, bpm=120, tonic=0):
    """Chords over a click track: something for every feature."""
    chords = cadence(tonic, minor=False, chord_s=120 / bpm, repeats=1 + int(duration_s * bpm / 480))
    clicks = click_track(bpm, duration_s)
    return (0.6 * chords[: len(clicks)] + clicks).astype(np.float32)


def band(duration_s=12.0):
    """Closer to a recording: swung hits of three colours, vibrato, a fade, hiss and a small offset."""
    rng = np.random.default_rng(7)
    t = times(duration_s)
    samples = 0.1 * np.sin(2 * np.pi * 196 * t + 4 * np.sin(2 * np.pi * 5 * t))
    samples += (
        0.05 * np.sin(2 * np.pi * 1470 * t * (1 + 0.01 * t)) + 0.004 * rng.standard_normal(t.size) + 0.01
    )
    for beat, start in enumerate(np.arange(0.2, duration_s - 0.3, 0.31)):
        at, n = int((start + 0.02 * (beat % 2)) * RATE_HZ), 6000
        hit = np.sin(
            2 * np.pi * (60, 180, 5000)[beat % 3] * times(n / RATE_HZ)[:n]
        ) + 0.3 * rng.standard_normal(n)
        samples[at : at + n] += 0.4 * hit * np.exp(-np.arange(n) / 1500)
    return (samples * np.linspace(1, 0.4, t.size)).astype(np.float32)


def pcm_wav(rate_hz=RATE_HZ, channels=1, samples=None, data_bytes=None):
    """A 16-bit WAV as bytes whose header may say anything."""
    samples = drone() if samples is None else samples
    data = (samples * 32767).astype("<i2").tobytes()
    size = len(data) if data_bytes is None else data_bytes
    return (
        struct.pack("<4sI4s", b"RIFF", min(36 + size, 2**32 - 1), b"WAVE")
        + struct.pack(
            "<4sIHHIIHH", b"fmt ", 16, 1, channels, rate_hz, rate_hz * channels * 2, channels * 2, 16
        )
        + struct.pack("<4sI", b"data", size)
        + data
    )


def cut_in_half(path: Path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path
