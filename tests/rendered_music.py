"""Music whose tempo and key are known because it was written here, played by FluidSynth.

What belongs here: the pieces (MIDI, made with mido), the sound of them, and which of them are judged. What
does not: how an answer is judged (`tempo_key_scores`) and what is demanded (`test_ground_truth`).
`benchmarks/ground_truth.py` measures the same pieces.

Conventions: 4/4, quantised, 20 s; a note is (start in beats, length in beats, MIDI pitch, velocity); a tonic
is in semitones above C; chords are degrees of the scale, 0 being the tonic's.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from math import ceil
from pathlib import Path

import mido
import numpy as np
import signals
from numpy.typing import NDArray

from audio_assets.audio import decode_mono

DURATION_S = 20.0
SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
MISSING = (
    None
    if shutil.which("fluidsynth") and SOUNDFONT.exists()
    else f"needs fluidsynth and {SOUNDFONT} (Debian: fluidsynth, fluid-soundfont-gm)"
)

KEY_BPM = 96
TEMPI_BPM = (50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160, 175, 200)

Note = tuple[float, float, int, int]
Chord = tuple[int, int, int]

TICKS_PER_BEAT = 480
DRUM_CHANNEL = 9
PIANO, GUITAR, BASS, STRINGS = 0, 25, 33, 48
KICK, SNARE, HAT = 36, 38, 42

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
CADENCE = (0, 3, 4, 0)  # I IV V I, in minor i iv V i
POP = {False: (0, 4, 5, 3), True: (0, 5, 3, 4)}  # I V vi IV, in minor i VI iv V
LOOP = (0, 5, 2, 6)  # i VI III VII: the chords, in the order, of the relative major's vi IV I V


@dataclass(frozen=True)
class Piece:
    """One piece of music and the truth about it; clicks and drums have no key, whatever is said here."""

    arrangement: str
    bpm: float
    tonic: int
    minor: bool

    @property
    def name(self) -> str:
        return f"{self.arrangement}-{self.bpm:g}-{self.tonic}{'-minor' * self.minor}"

    def samples(self, folder: Path) -> NDArray[np.float32]:
        """20 s, mono at 44,100 Hz; MIDI and wave file are written into `folder` on the way."""
        if self.arrangement == "clicks":
            return signals.click_track(self.bpm, DURATION_S)
        midi, wave = folder / f"{self.name}.mid", folder / f"{self.name}.wav"
        _midi(self).save(midi)
        _play(midi, wave)
        samples = decode_mono(wave, signals.RATE_HZ).samples
        return samples[: int(DURATION_S * signals.RATE_HZ)]


def key_pieces(names: Iterable[str]) -> list[Piece]:
    """Each of the 24 keys in each of these arrangements, at one tempo."""
    return [
        Piece(name, KEY_BPM, tonic, minor) for name in names for minor in (False, True) for tonic in range(12)
    ]


def ambiguous_pieces() -> list[Piece]:
    """A loop in each minor key that is as much in its relative major: the truth is in the ear."""
    return [Piece("loop", KEY_BPM, tonic, minor=True) for tonic in range(12)]


def tempo_pieces(names: Iterable[str]) -> list[Piece]:
    """Each tempo in each of these arrangements; keys by fifths, major and minor in turn."""
    return [
        Piece(name, bpm, 7 * number % 12, number % 2 == 1)
        for name in names
        for number, bpm in enumerate(TEMPI_BPM)
    ]


def _play(midi: Path, wave: Path) -> None:
    """Render on one core, with the default reverb and chorus; the same file gives the same bits."""
    settings = ["-o", "synth.cpu-cores=1", "-o", "synth.dynamic-sample-loading=1"]
    output = ["-r", str(signals.RATE_HZ), "-O", "s16", "-T", "wav", "-F", str(wave)]
    command = ["fluidsynth", "-n", "-i", "-q", "-g", "1.2", *settings, *output, str(SOUNDFONT), str(midi)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _midi(piece: Piece) -> mido.MidiFile:
    file = mido.MidiFile(ticks_per_beat=TICKS_PER_BEAT)
    tempo = mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(piece.bpm))
    file.tracks.append(mido.MidiTrack([tempo]))
    for channel, (program, part) in enumerate(ARRANGEMENTS[piece.arrangement]):
        notes = [note for bar, chord in _bars(piece) for note in _shifted(part(bar, chord), 4 * bar)]
        file.tracks.append(_track(DRUM_CHANNEL if part is drums else channel, program, notes))
    return file


def _track(channel: int, program: int, notes: list[Note]) -> mido.MidiTrack:
    messages = [mido.Message("program_change", channel=channel, program=program)]
    for start, length, pitch, velocity in notes:
        note = {"channel": channel, "note": pitch}
        on, off = round(start * TICKS_PER_BEAT), round((start + length) * TICKS_PER_BEAT)
        messages += [mido.Message("note_on", **note, velocity=velocity, time=on)]
        messages += [mido.Message("note_off", **note, time=off)]
    messages.sort(key=lambda message: (message.time, message.type == "note_on"))  # off before on
    starts = [0, *(message.time for message in messages[:-1])]
    return mido.MidiTrack(
        message.copy(time=message.time - start) for message, start in zip(messages, starts, strict=True)
    )


def _bars(piece: Piece) -> Iterator[tuple[int, Chord]]:
    """Number of each bar and its chord, root lowest, between G3 and the F# two octaves above."""
    progression = {"piano": CADENCE, "loop": LOOP}.get(piece.arrangement, POP[piece.minor])
    bar_count = ceil(DURATION_S * piece.bpm / 60 / 4)
    scale = MINOR if piece.minor else MAJOR
    tonic = 60 + piece.tonic - 12 * (piece.tonic > 6)
    for bar, root in zip(range(bar_count), cycle(progression), strict=False):
        pitches = [tonic + scale[step % 7] + 12 * (step // 7) for step in (root, root + 2, root + 4)]
        if piece.minor and root == 4:
            pitches[1] += 1  # the leading note of harmonic minor
        yield bar, (pitches[0], pitches[1], pitches[2])


def _shifted(notes: list[Note], beats: float) -> list[Note]:
    return [(start + beats, length, pitch, velocity) for start, length, pitch, velocity in notes]


def block_chords(_: int, chord: Chord) -> list[Note]:
    return [(beat, 1.9, pitch, 70) for beat in (0, 2) for pitch in chord]


def left_hand(_: int, chord: Chord) -> list[Note]:
    return [(0, 3.9, chord[0] - 24, 75), (2, 1.9, chord[0] - 12, 60)]


def melody(bar: int, chord: Chord) -> list[Note]:
    """Chord tones an octave up: two quarters, two eighths, a quarter; every second bar in another order."""
    root, third, fifth = (pitch + 12 for pitch in chord)
    line = (fifth, third, root, third, fifth) if bar % 2 else (root, third, fifth, third, root)
    starts, lengths = (0, 1, 2, 2.5, 3), (1, 1, 0.5, 0.5, 1)
    return [(start, length, pitch, 85) for start, length, pitch in zip(starts, lengths, line, strict=True)]


def pad(_: int, chord: Chord) -> list[Note]:
    return [(0, 3.95, pitch, 60) for pitch in chord]


def arpeggio(_: int, chord: Chord) -> list[Note]:
    order = (0, 1, 2, 1, 0, 1, 2, 1)
    return [
        (0.5 * eighth, 0.5, chord[step], 65 + 15 * (eighth % 4 == 0)) for eighth, step in enumerate(order)
    ]


def bass_line(_: int, chord: Chord) -> list[Note]:
    return [(0.5 * eighth, 0.45, chord[0] - 24, 90 if eighth % 2 == 0 else 75) for eighth in range(8)]


def drums(_: int, __: Chord) -> list[Note]:
    """Kick on one and three, snare on two and four, closed hi-hat in eighths."""
    hats = [(0.5 * eighth, 0.2, HAT, 75 if eighth % 2 == 0 else 55) for eighth in range(8)]
    kicks = [(beat, 0.2, KICK, 110) for beat in (0, 2, 2.5)]
    return hats + kicks + [(beat, 0.2, SNARE, 105) for beat in (1, 3)]


Part = Callable[[int, Chord], list[Note]]

BAND: list[tuple[int, Part]] = [(STRINGS, pad), (GUITAR, arpeggio), (BASS, bass_line)]

ARRANGEMENTS: dict[str, list[tuple[int, Part]]] = {
    "drums": [(0, drums)],
    "song": [*BAND, (0, drums)],
    "band": BAND,
    "loop": BAND,
    "piano": [(PIANO, block_chords), (PIANO, left_hand), (PIANO, melody)],
}
