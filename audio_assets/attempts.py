"""How often the automation has tried a batch, so that a poisoned one does not run for ever.

Kept in a file of the data folder and not in Dagster's run records, which are swept away after a while. A
batch is counted anew as soon as other tracks, other bytes or another version are waiting. An attempt of more
than a week ago does not count any more: what was wrong, such as a network drive, may be right by now.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from audio_assets.outstanding import Work
from audio_assets.warehouse import atomic_path

_FILE = "attempts.json"
_COUNTS_FOR_S = 7 * 24 * 3600.0

#: Launches by table and batch, and by backfill.
_Known = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Attempts:
    """The attempts of one data folder.

    Parameters
    ----------
    data_dir : Path
        The data folder.
    most : int
        Launches of the same work after which it is given up.
    """

    data_dir: Path
    most: int

    def split(self, work: Iterable[Work], backfill_id: str) -> tuple[list[Work], list[Work]]:
        """Tell what may be tried by a backfill from what was tried too often."""
        known = self._read()
        tried = [(item, _n_tries(known, item, backfill_id)) for item in work]
        allowed = [item for item, n_tries in tried if n_tries < self.most]
        return allowed, [item for item, n_tries in tried if n_tries >= self.most]

    def given_up(self, work: Iterable[Work]) -> list[Work]:
        """Work that was tried as often as is allowed and is still there."""
        return self.split(work, "")[1]

    def note(self, work: Iterable[Work], backfill_id: str) -> None:
        """Count a launch; the same launch is counted once."""
        with self._lock():
            known = self._read()
            for item in work:
                noted = {"at_s": time.time(), "version": item.version, "inputs": item.inputs}
                known[_key(item)] = {**_others(known, item, backfill_id), backfill_id: noted}
            self._write(known)

    def _lock(self) -> FileLock:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        return FileLock(self.data_dir / ".attempts.lock")

    def _read(self) -> _Known:
        path = self.data_dir / _FILE
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def _write(self, known: _Known) -> None:
        with atomic_path(self.data_dir / _FILE) as temporary:
            temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")


def forget_attempts(data_dir: Path) -> None:
    """Let everything be tried again."""
    (data_dir / _FILE).unlink(missing_ok=True)


def _n_tries(known: _Known, item: Work, backfill_id: str) -> int:
    """Count the launches of the same work by other backfills."""
    others = _others(known, item, backfill_id).values()
    return sum(it["inputs"] == item.inputs and item.version in (None, it["version"]) for it in others)


def _others(known: _Known, item: Work, backfill_id: str) -> dict[str, dict[str, Any]]:
    """Find the launches of a batch that still count, whatever waited in it, by other backfills."""
    now_s = time.time()
    return {
        other: launch
        for other, launch in known.get(_key(item), {}).items()
        if other != backfill_id and abs(now_s - launch["at_s"]) < _COUNTS_FOR_S
    }


def _key(item: Work) -> str:
    return f"{item.table}/{item.batch}"
