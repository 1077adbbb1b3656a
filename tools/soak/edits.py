"""A music library in the hands of a restless person, and what it must hold in the end.

Besides the bytes, an edit knows which id a track must have afterwards: that of its path, or that of its
content where a file was only moved. Where it depends on whether somebody looked in between (a file was
changed *and* moved), any id will do until the next comparison, which tells it.
"""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from audio_assets.failures import FailureCode
from audio_assets.library.discovery import song_id_for
from tools.soak.sounds import Sound, good_sound, make_sound

MOST_TRACKS = 40
FEWEST_TRACKS = 12
_FOLDERS = (".", "one", "one/two", "three é", "four'[4]*", "五")
_LONGEST_GAP_S = 6.0


@dataclass
class Track:
    """A file of the library.

    Parameters
    ----------
    content : bytes
        What is in the file, or will be when its copy ends.
    failures : frozenset of FailureCode or None
        As of `Sound`.
    song_id : str or None
        The id it must have; None where any will do.
    is_moved, is_changed : bool
        Since the last comparison; what is new has changed.
    """

    content: bytes
    failures: frozenset[FailureCode] | None
    song_id: str | None
    is_moved: bool = False
    is_changed: bool = True


@dataclass
class _Copy:
    """A copy that is going on."""

    path: Path
    pieces: list[bytes]
    next_s: float


@dataclass
class Library:
    """The library and the hand that changes it.

    Parameters
    ----------
    root : Path
        Its folder.
    rng : numpy.random.Generator
        Decides everything.
    """

    root: Path
    rng: np.random.Generator
    tracks: dict[str, Track] = field(default_factory=dict)
    _gone: dict[str, Track] = field(default_factory=dict)
    _copies: dict[str, _Copy] = field(default_factory=dict)
    _holders: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _n_names: int = 0

    def edit(self) -> tuple[str, str]:
        """Do something; give its kind and what was done."""
        kinds: list[tuple[float, Callable[[], str]]] = [
            (3.0 if len(self.tracks) < MOST_TRACKS else 0.0, self._drop),
            (1.0, self._arrive_slowly),
            (2.0, self._change),
            (1.0, self._damage),
            (2.0, self._move),
            (0.5, self._move_folder),
            (2.0 if len(self.tracks) > FEWEST_TRACKS else 0.0, self._remove),
            (1.0, self._restore),
            (0.7, self._duplicate),
            (0.7, self._swap),
            (0.7, self._touch),
        ]
        weights = np.array([weight for weight, _ in kinds])
        kind = kinds[self.rng.choice(len(kinds), p=weights / weights.sum())][1]
        return kind.__name__.strip("_"), kind()

    def drop(self, n_files: int) -> str:
        """Add good files all at once."""
        return ", ".join(self._add(good_sound(self.rng)) for _ in range(n_files))

    def go_on(self) -> None:
        """Write what is due of the copies that are going on."""
        for name, copy in list(self._copies.items()):
            if time.monotonic() >= copy.next_s:
                with copy.path.open("ab") as file:
                    file.write(copy.pieces.pop(0))
                copy.next_s = time.monotonic() + self.rng.uniform(0.1, _LONGEST_GAP_S)
                if not copy.pieces:
                    del self._copies[name]

    @property
    def is_still(self) -> bool:
        """Whether no copy is going on."""
        return not self._copies

    def compared(self, ids: dict[str, str]) -> None:
        """Take the ids by path that the tables have; from here on they must stay."""
        for name, track in self.tracks.items():
            track.song_id = ids.get(name, track.song_id)
            track.is_moved = track.is_changed = False

    def _drop(self) -> str:
        return ", ".join(self._add(make_sound(self.rng)) for _ in range(self.rng.integers(1, 5)))

    def _add(self, sound: Sound) -> str:
        name = self._new_name(sound.suffix)
        track = self._new_track(name, sound)
        if self.rng.random() < 0.5:
            self._write(name, track.content)
        else:
            self._replace(name, track.content)
        return name

    def _arrive_slowly(self) -> str:
        sound = make_sound(self.rng)
        name = self._new_name(sound.suffix)
        track = self._new_track(name, sound)
        cuts = sorted(self.rng.integers(0, len(track.content) + 1, 4).tolist())
        pieces = [track.content[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
        self._path(name).touch()
        self._copies[name] = _Copy(self._path(name), pieces, time.monotonic())
        return f"{name} in {len(pieces)} pieces"

    def _change(self) -> str:
        name = self._any()
        self._set(name, make_sound(self.rng))
        return name

    def _damage(self) -> str:
        name = self._any()
        content = self.tracks[name].content
        cut = content[: int(self.rng.uniform(0.0, 0.9) * len(content))]
        self._set(name, Sound(cut, "", failures=None))
        return f"{name} to {len(cut)} of {len(content)} bytes"

    def _move(self) -> str:
        name = self._any()
        target = self._new_name(PurePosixPath(name).suffix)
        self._path(name).rename(self._path(target))
        self._moved(name, target)
        return f"{name} -> {target}"

    def _move_folder(self) -> str:
        folders = sorted({str(PurePosixPath(name).parent) for name in self.tracks} - {"."})
        folders = [folder for folder in folders if not any(n.startswith(f"{folder}/") for n in self._copies)]
        if not folders:
            return "none"
        folder = folders[self.rng.integers(len(folders))]
        self._n_names += 1
        target = f"album {self._n_names}"
        (self.root / folder).rename(self.root / target)
        for name in [name for name in self.tracks if name.startswith(f"{folder}/")]:
            self._moved(name, target + name.removeprefix(folder))
        return f"{folder}/ -> {target}/"

    def _remove(self) -> str:
        name = self._any()
        self._path(name).unlink()
        self._gone[name] = self.tracks.pop(name)
        return name

    def _restore(self) -> str:
        if not self._gone:
            return "none"
        name = sorted(self._gone)[self.rng.integers(len(self._gone))]
        track = self._gone.pop(name)
        if track.is_moved or not self._is_only_holder(track):
            track.song_id = None
        self.tracks[name] = track
        if self.rng.random() < 0.5:
            self._set(name, make_sound(self.rng))
            return f"{name}, another file"
        track.is_changed = True
        self._write(name, track.content)
        return f"{name}, the same file"

    def _duplicate(self) -> str:
        name = self._any()
        track = self.tracks[name]
        if track.is_moved:  # perhaps nobody has looked since, and either may be the one that was there
            track.song_id = None
        target = self._new_name(PurePosixPath(name).suffix)
        self._write(target, self._new_track(target, Sound(track.content, "", track.failures)).content)
        return f"{name} to {target}"

    def _swap(self) -> str:
        first, second = self._any(), self._any()
        if first == second:
            return "none"
        hidden = self.root / ".swapped"
        self._path(first).rename(hidden)
        self._path(second).rename(self._path(first))
        hidden.rename(self._path(second))
        a, b = self.tracks[first], self.tracks[second]
        sounds = [Sound(track.content, "", track.failures) for track in (b, a)]
        for name, sound in zip((first, second), sounds, strict=True):
            self._now_holds(self.tracks[name], sound)
        return f"{first} and {second}"

    def _touch(self) -> str:
        name = self._any()
        os.utime(self._path(name))
        return name

    def _any(self) -> str:
        names = sorted(set(self.tracks) - set(self._copies))
        return names[self.rng.integers(len(names))]

    def _new_name(self, suffix: str) -> str:
        self._n_names += 1
        folder = _FOLDERS[self.rng.integers(len(_FOLDERS))]
        return str(PurePosixPath(folder) / f"{self._n_names:03d} tune{suffix}")

    def _new_track(self, name: str, sound: Sound) -> Track:
        track = Track(sound.content, sound.failures, song_id_for(PurePosixPath(name)))
        self._holds(track)
        if not self._is_only_holder(track):
            track.song_id = None
        self.tracks[name] = track
        return track

    def _set(self, name: str, sound: Sound) -> None:
        self._now_holds(self.tracks[name], sound)
        if self.rng.random() < 0.5:
            self._write(name, sound.content)
        else:
            self._replace(name, sound.content)

    def _now_holds(self, track: Track, sound: Sound) -> None:
        track.content, track.failures, track.is_changed = sound.content, sound.failures, True
        if track.is_moved:
            track.song_id = None
        self._holds(track)

    def _moved(self, name: str, target: str) -> None:
        track = self.tracks.pop(name)
        self.tracks[target] = track
        track.is_moved = True
        if track.is_changed or not self._is_only_holder(track):
            track.song_id = None

    def _holds(self, track: Track) -> None:
        self._holders[_digest(track.content)].add(id(track))

    def _is_only_holder(self, track: Track) -> bool:
        """Whether no other track ever had the same bytes."""
        return len(self._holders[_digest(track.content)]) == 1

    def _path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _write(self, name: str, content: bytes) -> None:
        self._path(name).write_bytes(content)

    def _replace(self, name: str, content: bytes) -> None:
        """Write beside the file, under a name that nobody looks at, and switch."""
        hidden = self._path(name).with_name(".arriving")
        hidden.write_bytes(content)
        hidden.replace(self._path(name))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
