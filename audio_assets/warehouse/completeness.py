"""What is known of a batch's file without reading it: that it holds true rows of all its tracks.

Whether anything is pending is asked before every run and by every schedule, and reading thousands of files
for it takes minutes. So the answer "nothing" is kept beside the file, with what it was an answer to. It is a
cache: wherever file, tracks or version have changed, the file is read again.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from audio_assets.library import Entry
from audio_assets.warehouse.files import StorageError, atomic_path
from audio_assets.warehouse.layout import identity

_NAME = "complete.json"


@dataclass(frozen=True)
class Question:
    """Whether a file, as it is at this moment, holds true rows of all these tracks.

    Parameters
    ----------
    folder : Path
        Folder of the batch.
    facts : str
        Which file, tracks, bytes of them and version; empty where there is no file.
    """

    folder: Path
    facts: str

    @classmethod
    def about(cls, path: Path, tracks: Sequence[Entry], version: tuple[str, str]) -> "Question":
        """Ask about a file; to be done before it is read."""
        try:
            file = identity(path)
        except FileNotFoundError:
            return cls(path.parent, "")
        wanted = sorted((track.song_id, track.content_sha256 or "") for track in tracks)
        digest = hashlib.sha256(json.dumps([wanted, version]).encode()).hexdigest()
        return cls(path.parent, json.dumps([file, digest]))

    def is_answered(self) -> bool:
        """Whether the answer is known to be yes."""
        try:
            return bool(self.facts) and (self.folder / _NAME).read_text(encoding="utf-8") == self.facts
        except FileNotFoundError:
            return False

    def note_yes(self) -> None:
        """Keep the answer."""
        with suppress(StorageError), atomic_path(self.folder / _NAME) as temporary:  # it is a cache
            temporary.write_text(self.facts, encoding="utf-8")
