"""How often the automation has tried a batch, so that a poisoned one does not run for ever.

Kept in a file of the data folder and not in Dagster's run records, which are swept away after a while. A
batch is counted anew as soon as other tracks, other bytes or another version are waiting.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from audio_assets.outstanding import Work
from audio_assets.warehouse import atomic_path

_FILE = "attempts.json"


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
        tried = [(item, set(_launches(known, item)) - {backfill_id}) for item in work]
        allowed = [item for item, launches in tried if len(launches) < self.most]
        return allowed, [item for item, launches in tried if len(launches) >= self.most]

    def given_up(self, work: Iterable[Work]) -> list[Work]:
        """Work that was tried as often as is allowed and is still there."""
        return self.split(work, "")[1]

    def note(self, work: Iterable[Work], backfill_id: str) -> None:
        """Count a launch; the same launch is counted once."""
        with self._lock():
            known = self._read()
            for item in work:
                launches = sorted({*_launches(known, item), backfill_id})
                noted = {"version": item.version, "inputs": item.inputs, "launches": launches}
                known.setdefault(item.table, {})[item.batch] = noted
            self._write(known)

    def _lock(self) -> FileLock:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        return FileLock(self.data_dir / ".attempts.lock")

    def _read(self) -> dict[str, Any]:
        path = self.data_dir / _FILE
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def _write(self, known: dict[str, Any]) -> None:
        with atomic_path(self.data_dir / _FILE) as temporary:
            temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")


def forget_attempts(data_dir: Path) -> None:
    """Let everything be tried again."""
    (data_dir / _FILE).unlink(missing_ok=True)


def _launches(known: dict[str, Any], item: Work) -> list[str]:
    entry = known.get(item.table, {}).get(item.batch)
    if entry is None or entry["inputs"] != item.inputs or item.version not in (None, entry["version"]):
        return []
    return list(entry["launches"])
