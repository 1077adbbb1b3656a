"""The demo library: twenty-four short tracks whose tempo, key and instrument are known.

What belongs here: which tracks there are and how they come to lie on disk with their tags and their
truth table. What does not: how they sound (`audio_assets.demo.synthesiser`), and damaged files; the
demo library is what a healthy library looks like.

Each of the 24 keys occurs once; tonics are named as key detectors name them (C#, Eb, F#, Ab, Bb).
"""

import csv
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from audio_assets.demo.synthesiser import Mode, Score, render

#: Raised whenever the samples or the layout change, so that an older library is made anew.
LIBRARY_VERSION = 1
MARKER_NAME = ".demo-library"
TRUTH_NAME = "truth.csv"
AUDIO_FOLDER = "audio"
TRUTH_COLUMNS = (
    "relative_path",
    "title",
    "artist",
    "genre",
    "tempo_bpm",
    "key_tonic",
    "key_mode",
    "instrument",
)
TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

Format = Literal["wav", "flac", "ogg", "mp3"]


@dataclass(frozen=True)
class DemoTrack:
    """What is true of one track of the demo library.

    Parameters
    ----------
    relative_path : str
        Path below the ``audio`` folder, with ``/`` between its parts.
    title, artist, genre : str
        As in the file's tags.
    tempo_bpm : float
        Quarter notes a minute.
    key : str
        Tonic and mode, such as ``"Eb minor"``.
    instrument : str
        Family that plays the chords and the melody.
    sample_rate_hz : int
        Rate of the file; every file is stereo.
    duration_s : float
        Length of the file, exact to one sample.
    format : {"wav", "flac", "ogg", "mp3"}
        Container, also the file's suffix.
    """

    relative_path: str
    title: str
    artist: str
    genre: str
    tempo_bpm: float
    key: str
    instrument: str
    sample_rate_hz: int
    duration_s: float
    format: Format

    @property
    def key_tonic(self) -> str:
        """Name of the tonic, one of `TONICS`."""
        return self.key.split()[0]

    @property
    def key_mode(self) -> Mode:
        """Either ``"major"`` or ``"minor"``."""
        return cast(Mode, self.key.split()[1])


#: How a genre plays: the beats on which its chords are struck and the level of its drums.
_STYLES: Mapping[str, tuple[tuple[float, ...], float]] = MappingProxyType(
    {
        "ambient": ((0.0,), 0.5),
        "chamber": ((0.0, 2.0), 0.6),
        "folk": ((0.0, 1.0, 2.0, 3.0), 0.7),
        "march": ((0.0, 1.0, 2.0, 3.0), 1.0),
        "soul": ((0.0, 1.5, 2.0, 3.5), 0.9),
        "electronic": ((0.0, 1.0, 2.0, 3.0, 3.5), 1.2),
    }
)


def _score(tempo_bpm: float, key: str, instrument: str, genre: str) -> Score:
    tonic, mode = key.split()
    comping, drum_gain = _STYLES[genre]
    return Score(tempo_bpm, TONICS.index(tonic), cast(Mode, mode), instrument, comping, drum_gain)


def _track(
    stem: str,
    title: str,
    artist: str,
    tempo_bpm: float,
    key: str,
    instrument: str,
    format: Format,
    sample_rate_hz: int = 44_100,
) -> DemoTrack:
    """Complete a row of the table below: ``stem`` is the path without its suffix, in its genre's folder."""
    genre = stem.partition("/")[0]
    n_samples = round(_score(tempo_bpm, key, instrument, genre).duration_s * sample_rate_hz)
    return DemoTrack(
        relative_path=f"{stem}.{format}",
        title=title,
        artist=artist,
        genre=genre,
        tempo_bpm=tempo_bpm,
        key=key,
        instrument=instrument,
        sample_rate_hz=sample_rate_hz,
        duration_s=n_samples / sample_rate_hz,
        format=format,
    )


DEMO_TRACKS: tuple[DemoTrack, ...] = (
    _track("ambient/low_tide", "Low Tide", "Ines Marrow", 70, "Eb minor", "organ", "wav"),
    _track("ambient/glasshouse", "Glasshouse", "Ines Marrow", 75, "Ab major", "strings", "flac", 48_000),
    _track("ambient/nordlys", "Nordlýs", "Pale Harbour", 80, "C# minor", "organ", "ogg"),
    _track("ambient/slow_weather", "Slow Weather", "Pale Harbour", 72, "F major", "electric_piano", "mp3"),
    _track("chamber/largo_in_d", "Largo in D", "Kestrel Quartet", 78, "D major", "strings", "flac"),
    _track("chamber/allegro", "Allegro, ma non troppo", "Kestrel Quartet", 124, "G minor", "strings", "ogg"),
    _track("chamber/minuet", "Minuet", "The Linden Players", 108, "Bb major", "strings", "wav"),
    _track("chamber/toccata", "Toccata", "The Linden Players", 132, "B minor", "organ", "mp3", 48_000),
    _track("folk/fern_and_stone", "Fern & Stone", "Tam Orrick", 96, "A minor", "plucked", "mp3"),
    _track("folk/the_miller", "The Miller's Door", "Tam Orrick", 104, "E major", "plucked", "flac"),
    _track("folk/agua_clara", "Água Clara", "Dorotea Vale", 116, "C major", "plucked", "wav", 22_050),
    _track("folk/reel", "Reel of the Long Field", "Dorotea Vale", 138, "F# minor", "plucked", "ogg"),
    _track("march/gate_parade", "Gate Parade", "Brasshaven Band", 112, "Eb major", "brass", "flac"),
    _track("march/colours", "Colours Up", "Brasshaven Band", 120, "D minor", "brass", "wav"),
    _track("march/night_watch", "Night Watch", "Ninth Street Brass", 100, "F minor", "brass", "ogg", 22_050),
    _track("march/fanfare", "Fanfare for a Ferry", "Ninth Street Brass", 144, "B major", "brass", "mp3"),
    _track("soul/velvet_hour", "Velvet Hour", "Odile Grant", 84, "Bb minor", "electric_piano", "ogg"),
    _track("soul/corner_light", "Corner Light", "Odile Grant", 88, "G major", "electric_piano", "mp3"),
    _track("soul/ask_me_twice", "Ask Me Twice", "The Marlowes", 92, "E minor", "electric_piano", "wav"),
    _track("soul/sunday_organ", "Sunday Organ", "The Marlowes", 102, "C# major", "organ", "flac"),
    _track("electronic/pulse_map", "Pulse Map", "Vektor Nine", 128, "C minor", "synth_lead", "mp3"),
    _track("electronic/arc_lamp", "Arc Lamp", "Vektor Nine", 150, "F# major", "synth_lead", "wav", 48_000),
    _track("electronic/grid_runner", "Grid Runner", "Halogen", 160, "Ab minor", "synth_lead", "flac"),
    _track("electronic/overdrive", "Überdrive", "Halogen", 170, "A major", "synth_lead", "ogg"),
)


def demo_samples(track: DemoTrack, seed: int = 0) -> NDArray[np.float32]:
    """Play one track, independently of the others.

    Parameters
    ----------
    track : DemoTrack
        A member of `DEMO_TRACKS`.
    seed : int
        Another seed gives other melodies in the same tempo and key.

    Returns
    -------
    ndarray, shape (n_samples, 2), float32
        Stereo samples at ``track.sample_rate_hz``, before any encoding.
    """
    score = _score(track.tempo_bpm, track.key, track.instrument, track.genre)
    rng = np.random.default_rng([seed, DEMO_TRACKS.index(track)])
    return render(score, track.sample_rate_hz, rng)


def make_demo_library(folder: Path, seed: int = 0) -> Path:
    """Write the demo library, unless it is there already.

    The tracks lie in ``folder/audio/<genre>/``, what is true of them in ``folder/truth.csv``. The folder
    appears whole or not at all. The same seed gives the same samples; the bytes of an ogg file still
    differ, as its encoder draws a stream number.

    Parameters
    ----------
    folder : Path
        The library's own folder, made with its parents where missing.
    seed : int
        See `demo_samples`.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    FileExistsError
        If the folder holds anything that would be lost by making the library anew.
    """
    marker = f"audio-assets demo library, version {LIBRARY_VERSION}, seed {seed}\n"
    if _is_complete(folder, marker):
        return folder
    _refuse_foreign_files(folder)
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.tmp-", dir=target.parent) as scratch:
        made = Path(scratch) / "made"
        _write_library(made, seed)
        (made / MARKER_NAME).write_text(marker, encoding="utf-8")
        if target.exists():
            target.replace(Path(scratch) / "previous")
        made.replace(target)
    return folder


def _is_complete(folder: Path, marker: str) -> bool:
    marker_path = folder / MARKER_NAME
    return (
        marker_path.is_file()
        and marker_path.read_text(encoding="utf-8") == marker
        and all((folder / name).is_file() for name in _own_files())
    )


def _own_files() -> set[str]:
    return {MARKER_NAME, TRUTH_NAME} | {f"{AUDIO_FOLDER}/{track.relative_path}" for track in DEMO_TRACKS}


def _refuse_foreign_files(folder: Path) -> None:
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if foreign := sorted(present - _own_files()):
        raise FileExistsError(
            f"{folder} holds {foreign[0]}, which is not of the demo library: choose another folder"
        )


def _write_library(folder: Path, seed: int) -> None:
    import soundfile

    for track in DEMO_TRACKS:
        path = folder / AUDIO_FOLDER / track.relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, demo_samples(track, seed), track.sample_rate_hz)
        _write_tags(path, track)
    with (folder / TRUTH_NAME).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        writer.writerows([getattr(track, column) for column in TRUTH_COLUMNS] for track in DEMO_TRACKS)


def _write_tags(path: Path, track: DemoTrack) -> None:
    """Write title, artist and genre: ID3 frames for wav and mp3, Vorbis comments for flac and ogg."""
    import mutagen
    from mutagen.id3 import TCON, TIT2, TPE1

    file = mutagen.File(path)
    if track.format in ("wav", "mp3"):
        file.add_tags()
        for frame, text in ((TIT2, track.title), (TPE1, track.artist), (TCON, track.genre)):
            file.tags.add(frame(encoding=3, text=text))
    else:
        file.update(title=track.title, artist=track.artist, genre=track.genre)
    file.save()
