"""A small band: from tempo, key, instrument and touch to stereo samples, the same for the same seed.

What belongs here: harmony, melody, the sound of the instruments and the drums, and the mix. What does
not: which tracks the demo library holds and how they are written to disk (`audio_assets.demo.library`).

Conventions: pitches are MIDI numbers (69 is A at 440 Hz), pitch classes count from C = 0, time is in
beats until it is rendered, and a bar has four beats.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Mode = Literal["major", "minor"]

BEATS_PER_BAR = 4
#: Room for the last chord and its reverberation to die away.
TAIL_S = 1.0
MIN_MUSIC_S = 12.0
#: Entries of one stored period; read without interpolation, the error stays some 75 dB down.
TABLE_SIZE = 16384

SCALES: Mapping[Mode, tuple[int, ...]] = MappingProxyType(
    {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
)
#: Semitones above the tonic of each chord's root, third and fifth, and of the seventh of the dominant.
CHORDS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "I": (0, 4, 7),
        "ii": (2, 5, 9),
        "IV": (5, 9, 0),
        "V7": (7, 11, 2, 5),
        "vi": (9, 0, 4),
        "i": (0, 3, 7),
        "iio": (2, 5, 8),
        "iv": (5, 8, 0),
        "VI": (8, 0, 3),
    }
)
#: Four bars each, all closing V to tonic so that the key is stated and not only implied.
PROGRESSIONS: Mapping[Mode, tuple[tuple[str, str, str, str], ...]] = MappingProxyType(
    {
        "major": (("I", "IV", "V7", "I"), ("I", "vi", "V7", "I"), ("I", "ii", "V7", "I")),
        "minor": (("i", "iv", "V7", "i"), ("i", "VI", "V7", "i"), ("i", "iio", "V7", "i")),
    }
)
#: Note lengths in beats that fill a bar of melody.
MELODY_RHYTHMS = (
    (1.0, 1.0, 1.0, 1.0),
    (2.0, 1.0, 1.0),
    (1.0, 0.5, 0.5, 2.0),
    (0.5, 0.5, 1.0, 0.5, 0.5, 1.0),
    (1.5, 0.5, 1.0, 1.0),
)


@dataclass(frozen=True)
class Instrument:
    """How one family of instruments sounds.

    Parameters
    ----------
    harmonics : tuple of float
        Amplitudes of the partials 1, 2, 3, ...
    attack_s, release_s : float
        Length of the linear rise and of the linear fall after the note's end.
    decay_s : float
        Time constant of the exponential decay while the note is held; infinite for a sustained sound.
    vibrato_cents : float
        Depth of a 5.5 Hz vibrato.
    """

    harmonics: tuple[float, ...]
    attack_s: float
    release_s: float
    decay_s: float = np.inf
    vibrato_cents: float = 0.0


INSTRUMENTS: Mapping[str, Instrument] = MappingProxyType(
    {
        "organ": Instrument((1, 0.8, 0.35, 0.5, 0.05, 0.2, 0.02, 0.25), 0.01, 0.05),
        "strings": Instrument((1, 0.6, 0.45, 0.3, 0.25, 0.2, 0.15, 0.1), 0.06, 0.15, vibrato_cents=8),
        "plucked": Instrument((1, 0.7, 0.5, 0.35, 0.2, 0.12, 0.08, 0.05), 0.003, 0.08, decay_s=0.45),
        "brass": Instrument((1, 0.9, 0.5, 0.5, 0.3, 0.2, 0.15, 0.1), 0.03, 0.08, vibrato_cents=4),
        "electric_piano": Instrument((1, 0.25, 0.04, 0.3, 0, 0.02, 0.1), 0.004, 0.12, decay_s=0.8),
        "synth_lead": Instrument((1, 0.5, 0.25, 0.3, 0.2, 0.15, 0.12, 0.15, 0.1), 0.005, 0.04),
        "flute": Instrument((1, 0.3, 0.12, 0.03, 0.01), 0.07, 0.1, vibrato_cents=14),
        # The bars of a marimba are tuned so that their overtones are the 4th and the 10th partial.
        "mallets": Instrument((1, 0, 0, 0.35, 0, 0, 0, 0, 0, 0.15), 0.002, 0.06, decay_s=0.22),
    }
)
BASS = Instrument((1, 0.5, 0.25, 0.1), 0.006, 0.06, decay_s=0.9)


@dataclass(frozen=True)
class Touch:
    """How hard the band plays: softly is not only quieter, it is also darker.

    Parameters
    ----------
    tilt : float
        Partial k of every instrument is scaled by k to this power.
    peak : float
        Largest sample of the finished mix.
    """

    tilt: float
    peak: float


Dynamics = Literal["soft", "medium", "loud"]
TOUCHES: Mapping[Dynamics, Touch] = MappingProxyType(
    {"soft": Touch(-1.0, 0.2), "medium": Touch(0.0, 0.8), "loud": Touch(0.6, 0.95)}
)


@dataclass(frozen=True)
class Score:
    """What is to be played.

    Parameters
    ----------
    tempo_bpm : float
        Quarter notes a minute.
    tonic : int
        Pitch class of the key, C = 0.
    mode : {"major", "minor"}
        Mode of the key.
    instrument : str
        A key of `INSTRUMENTS`; plays the chords and the melody.
    comping : tuple of float
        Beats of the bar on which the chord is struck.
    drum_gain : float
        Level of the drums against the rest of the band; 0 is without drums.
    octave : int
        Octaves by which the chords and the melody lie above their usual place.
    dynamics : {"soft", "medium", "loud"}
        A key of `TOUCHES`.
    """

    tempo_bpm: float
    tonic: int
    mode: Mode
    instrument: str
    comping: tuple[float, ...] = (0.0, 2.0)
    drum_gain: float = 1.0
    octave: int = 0
    dynamics: Dynamics = "medium"

    @property
    def n_bars(self) -> int:
        """The shortest of 4, 6, 8 or 12 bars that lasts at least `MIN_MUSIC_S`."""
        bar_s = 60.0 * BEATS_PER_BAR / self.tempo_bpm
        return next(n for n in (4, 6, 8, 12) if n * bar_s >= MIN_MUSIC_S)

    @property
    def duration_s(self) -> float:
        """Length of the recording, the dying away included."""
        return self.n_bars * BEATS_PER_BAR * 60.0 / self.tempo_bpm + TAIL_S


@dataclass(frozen=True)
class Note:
    """One tone: when it starts and how long it lasts (beats), and its MIDI pitch."""

    start: float
    length: float
    pitch: int


def harmony(score: Score, rng: np.random.Generator) -> list[str]:
    """Choose one chord for each bar.

    Returns
    -------
    list of str
        Keys of `CHORDS`, `score.n_bars` of them, the last the tonic.
    """
    choices = PROGRESSIONS[score.mode]
    progression = choices[rng.integers(len(choices))]
    return [*(progression * 3)[: score.n_bars - 2], *progression[2:]]


def chord_part(score: Score, chords: Sequence[str]) -> list[Note]:
    """Voice every chord between G3 and F#4 (at octave 0), struck on the beats of `score.comping`."""
    lowest = 55 + 12 * score.octave
    strikes = [*score.comping, float(BEATS_PER_BAR)]
    return [
        Note(bar * BEATS_PER_BAR + strike, 0.95 * (after - strike), lowest + (score.tonic + step - 7) % 12)
        for bar, chord in enumerate(chords)
        for strike, after in pairwise(strikes)
        for step in CHORDS[chord]
    ]


def bass_part(score: Score, chords: Sequence[str]) -> list[Note]:
    """Root on the first beat of the bar, fifth on the third, both between E2 and Eb3."""
    return [
        Note(bar * BEATS_PER_BAR + beat, 1.8, 40 + (score.tonic + step - 4) % 12)
        for bar, chord in enumerate(chords)
        for beat, step in ((0, CHORDS[chord][0]), (2, CHORDS[chord][2]))
    ]


def melody_part(score: Score, chords: Sequence[str], rng: np.random.Generator) -> list[Note]:
    """Walk at random over the scale, on chord tones where the beat is strong, home to the tonic."""
    notes, degree = [], int(rng.choice((0, 2, 4)))
    tonic = 60 + score.tonic + 12 * score.octave
    for bar, chord in enumerate(chords[:-1]):
        beat = 0.0
        for length in MELODY_RHYTHMS[rng.integers(len(MELODY_RHYTHMS))]:
            degree = int(np.clip(degree + rng.choice((-2, -1, -1, 1, 1, 2)), -3, 8))
            scale = _scale_over(chord, score.mode)
            if beat % 2 == 0:
                degree = _nearest_chord_tone(degree, scale, CHORDS[chord])
            notes.append(Note(bar * BEATS_PER_BAR + beat, 0.9 * length, tonic + _semitones(degree, scale)))
            beat += length
    home = tonic + 12 * round(degree / 7)
    return [*notes, Note((len(chords) - 1) * BEATS_PER_BAR, BEATS_PER_BAR, home)]


def _scale_over(chord: str, mode: Mode) -> tuple[int, ...]:
    """Scale of the melody over `chord`: in minor the dominant raises the seventh degree."""
    return (*SCALES[mode][:-1], 11) if chord == "V7" else SCALES[mode]


def _semitones(degree: int, scale: Sequence[int]) -> int:
    octave, step = divmod(degree, len(scale))
    return 12 * octave + scale[step]


def _nearest_chord_tone(degree: int, scale: Sequence[int], chord: Sequence[int]) -> int:
    """Move `degree` by as little as brings it onto a tone of `chord`, downwards in a tie."""
    return min(
        (degree + move for move in (0, -1, 1, -2, 2) if _semitones(degree + move, scale) % 12 in chord),
        key=lambda candidate: abs(candidate - degree),
    )


def render(score: Score, sample_rate_hz: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Play a score.

    Parameters
    ----------
    score : Score
        Tempo, key and instrument.
    sample_rate_hz : int
        Rate of the result.
    rng : numpy.random.Generator
        Decides the progression, the melody and the noise of the drums.

    Returns
    -------
    ndarray, shape (n_samples, 2), float32
        Left and right, with the peak of the score's dynamics.
    """
    chords = harmony(score, rng)
    touch = TOUCHES[score.dynamics]
    instrument = _touched(INSTRUMENTS[score.instrument], touch)
    n_samples = round(score.duration_s * sample_rate_hz)
    mix = np.zeros((n_samples, 2))
    for part, voice, gain, pan in (
        (chord_part(score, chords), instrument, 0.22, -0.35),
        (bass_part(score, chords), _touched(BASS, touch), 0.45, 0.0),
        (melody_part(score, chords, rng), instrument, 0.38, 0.35),
    ):
        mix += _pan(gain * _play(part, voice, score.tempo_bpm, sample_rate_hz, n_samples), pan)
    for drum, beats, gain, pan in _drum_parts(len(chords)):
        hit = score.drum_gain * gain * drum(sample_rate_hz, rng)
        mix += _pan(_strike(hit, beats, score.tempo_bpm, sample_rate_hz, n_samples), pan)
    mix = _reverberate(mix, sample_rate_hz)
    mastered: NDArray[np.float32] = (touch.peak / np.abs(mix).max() * mix).astype(np.float32)
    return mastered


def _touched(voice: Instrument, touch: Touch) -> Instrument:
    tilted = tuple(gain * k**touch.tilt for k, gain in enumerate(voice.harmonics, start=1))
    return replace(voice, harmonics=tilted)


def _play(
    notes: Sequence[Note], voice: Instrument, tempo_bpm: float, rate_hz: int, n_samples: int
) -> Samples:
    """Render one part in mono by reading a stored period at the speed of each note."""
    table = _one_period(voice)
    out = np.zeros(n_samples)
    for note in notes:
        start = round(note.start * 60 / tempo_bpm * rate_hz)
        length_s = note.length * 60 / tempo_bpm
        t_s = np.arange(min(round((length_s + voice.release_s) * rate_hz), n_samples - start)) / rate_hz
        cycles = 440.0 * 2 ** ((note.pitch - 69) / 12) * _vibrato(t_s, voice)
        index = (cycles * TABLE_SIZE).astype(np.int64) % TABLE_SIZE
        out[start : start + len(t_s)] += table[index] * _envelope(t_s, length_s, voice)
    return out


def _one_period(voice: Instrument) -> Samples:
    phase = 2 * np.pi * np.arange(TABLE_SIZE) / TABLE_SIZE
    amplitudes = np.array(voice.harmonics) / np.linalg.norm(voice.harmonics)
    partials = np.arange(1, len(amplitudes) + 1)
    period: Samples = amplitudes @ np.sin(partials[:, None] * phase)
    return period


def _vibrato(t_s: Samples, voice: Instrument) -> Samples:
    """Bend time, starting with no delay so that phases stay positive."""
    if voice.vibrato_cents == 0:
        return t_s
    depth, rate = 2 ** (voice.vibrato_cents / 1200) - 1, 2 * np.pi * 5.5
    bent: Samples = t_s + depth / rate * (1 - np.cos(rate * t_s))
    return bent


def _envelope(t_s: Samples, length_s: float, voice: Instrument) -> Samples:
    rise = np.minimum(t_s / voice.attack_s, 1)
    fall = np.clip((length_s + voice.release_s - t_s) / voice.release_s, 0, 1)
    shape: Samples = rise * fall * np.exp(-t_s / voice.decay_s)
    return shape


Drum = Callable[[int, np.random.Generator], Samples]


def _drum_parts(n_bars: int) -> Iterator[tuple[Drum, Sequence[float], float, float]]:
    """Each drum with its beats, gain and pan; the last bar keeps only its first stroke."""
    last = (n_bars - 1) * BEATS_PER_BAR
    yield _kick, range(0, last + 1, 2), 0.9, 0.0
    yield _snare, range(1, last, 2), 0.5, -0.15
    yield _hat, [eighth / 2 for eighth in range(2 * last)], 0.16, 0.5


def _kick(rate_hz: int, _rng: np.random.Generator) -> Samples:
    """Sine that falls from 150 to 45 Hz."""
    t_s = np.arange(round(0.25 * rate_hz)) / rate_hz
    cycles = 45 * t_s + 105 * 0.03 * (1 - np.exp(-t_s / 0.03))
    hit: Samples = np.sin(2 * np.pi * cycles) * np.exp(-t_s / 0.06)
    return hit


def _snare(rate_hz: int, rng: np.random.Generator) -> Samples:
    t_s = np.arange(round(0.2 * rate_hz)) / rate_hz
    hit: Samples = 0.5 * rng.standard_normal(len(t_s)) * np.exp(-t_s / 0.045)
    return hit


def _hat(rate_hz: int, rng: np.random.Generator) -> Samples:
    """Noise without its lows: the difference of neighbouring samples is a high-pass filter."""
    t_s = np.arange(round(0.06 * rate_hz)) / rate_hz
    hit: Samples = np.diff(rng.standard_normal(len(t_s) + 1)) * np.exp(-t_s / 0.015)
    return hit


def _strike(hit: Samples, beats: Sequence[float], tempo_bpm: float, rate_hz: int, n_samples: int) -> Samples:
    out = np.zeros(n_samples)
    for beat in beats:
        start = round(beat * 60 / tempo_bpm * rate_hz)
        out[start : start + len(hit)] += hit
    return out


def _pan(mono: Samples, position: float) -> Samples:
    """Place a part between left (-1) and right (+1) at constant power."""
    angle = (position + 1) * np.pi / 4
    stereo: Samples = mono[:, None] * np.array([np.cos(angle), np.sin(angle)])
    return stereo


def _reverberate(dry: Samples, rate_hz: int) -> Samples:
    """Add a few decaying echoes, each to the opposite side, as of a small room."""
    wet = dry.copy()
    for delay_s, gain in ((0.023, 0.16), (0.041, 0.12), (0.067, 0.08), (0.097, 0.05)):
        delay = round(delay_s * rate_hz)
        wet[delay:] += gain * dry[:-delay, ::-1]
    return wet
