"""The local record as a mirror of one on an object store: what is written goes there first.

A file is put into the store before it takes its place here, so a mirror only ever holds what the store has,
or had. What others have put there is pulled before a run, a sensor or a command reads. Nobody overwrites what
he has not read: a file is put in the place of a certain edition, known by its etag, or not at all.

What belongs here: which files move when, and in what order. What does not: the client of the store
(``store``), and what files hold (``record``).
"""

import errno
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from filelock import FileLock

from audio_assets.warehouse.etags import Edition, Etags
from audio_assets.warehouse.files import atomic_path, explained
from audio_assets.warehouse.layout import (
    APPROXIMATE,
    BATCH_KEY,
    BATCHED,
    CORPUS,
    DRAFTED,
    IN_FORCE,
    MATRIX,
    NO_VERSION,
    VERSION,
    beside,
    files_of,
    superseded,
)
from audio_assets.warehouse.store import ObjectStore, OvertakenError, Stored, StoreError

MIRROR_NAME = "mirror.sqlite"

_LEDGER = "track_manifest/part.parquet"
_BATCH = "{table}/batch={batch}/part.parquet"
#: The only keys that are ever read or written; they become paths.
_KEY = re.compile(
    rf"{re.escape(_LEDGER)}|({'|'.join(BATCHED)})/batch={BATCH_KEY.pattern}/part\.parquet"
    rf"|{CORPUS}/(?P<version>{VERSION.pattern})/(?P<file>({DRAFTED}|{IN_FORCE})\.parquet|{MATRIX}|{APPROXIMATE})"
)
_IN_VERSION = re.compile(rf"{CORPUS}/(?P<version>{VERSION.pattern})/(?P<file>[a-z_.]+)")
#: Says which record it is, and whether its origin has put all of it there.
_MARKER = "record.json"
#: Keeps the number of a version for the machine that took it.
_TAKEN = "taken"
#: A version is in force once its index is there, so that comes last, and goes first.
_ORDER = {f"{DRAFTED}.parquet": 1, f"{IN_FORCE}.parquet": 2}

_AT_ONCE = 8
_LOOKS = 5
#: A sensor has a minute for all it does, and a person no more patience.
_PATIENCE_TO_READ_S = 10.0


@dataclass(frozen=True)
class Mirror:
    """The record below a folder as a mirror of one in an object store.

    Parameters
    ----------
    root : Path
        Folder of the record.
    url : str
        ``s3://bucket/prefix``.
    patience_s : float
        How long a run waits for a store that does not answer.

    Raises
    ------
    StoreError
        From each method: the store does not answer, or is that of another record.
    """

    root: Path
    url: str
    patience_s: float

    def pull(self, batch: str | None = None, *, patiently: bool = True) -> None:
        """Bring the local files up to the store.

        Parameters
        ----------
        batch : str, optional
            Only the ledger and this batch, for which the store is not listed.
        patiently : bool
            Wait as long as a run does; else ten seconds.
        """
        store = self._store() if patiently else self._store(_PATIENCE_TO_READ_S)
        self._attach(store)
        for _ in range(_LOOKS):
            held = self._etags.all()  # before the look: what is written after it is not missed in it
            found = _all(store) if batch is None else _of_batch(store, batch)
            with suppress(FileNotFoundError):  # swept away since; then there is a newer one
                self._fetch(store, _in_use(found), held)
                if batch is None:
                    self._remove({key: edition for key, edition in held.items() if key not in found})
                return
        raise StoreError(errno.EAGAIN, f"{self.url} changes faster than it can be read; run again")

    def edition(self, path: Path) -> str | None:
        """Etag of the edition that a local file holds; None where the store has none of it."""
        held = self._etags.get(self._key(path))
        return held.etag if held else None

    def editions(self) -> dict[str, str]:
        """Etags of all files that are held, by relative path."""
        return {key: held.etag for key, held in self._etags.all().items()}

    @contextmanager
    def writing(self, path: Path, onto: str | None) -> Iterator[Path]:
        """Give a temporary name; what is written there goes into the store, and then takes the file's place.

        Parameters
        ----------
        path : Path
            The file to write or replace.
        onto : str or None
            Etag of the edition that it is made from; None where there is to be none yet. What belongs to a
            version of the corpus is not asked for it: whose number that is, writes it alone.

        Yields
        ------
        Path
            Where to write.

        Raises
        ------
        OvertakenError
            Another machine has written another edition. Nothing was changed.
        StorageError
            As of `files.atomic_path`.
        """
        key, store = self._key(path), self._store()
        self._attach(store)
        with ExitStack() as stack:
            with atomic_path(path) as temporary:
                yield temporary
                if _IN_VERSION.fullmatch(key):
                    etag = self._put_version(store, key, temporary)
                else:
                    etag = store.put_onto(key, temporary.read_bytes(), onto)
                stack.enter_context(self._placing())
                self._etags.forget(key)
            self._etags.note(key, etag, path)

    def reserve(self, version: str) -> bool:
        """Take the number of a version of the corpus; False where another machine has it."""
        try:
            self._store().put_onto(f"{CORPUS}/{version}/{_TAKEN}", b"", None)
        except OvertakenError:
            return False
        return True

    def drop_superseded_versions(self) -> None:
        """Remove superseded versions of the corpus from the store, as it is now and not as it was pulled."""
        store = self._store()
        by_version = _versions(stored.key for stored in store.list())
        versions = sorted(by_version, key=int)
        drafted, indexed = (
            [version for version in versions if f"{table}.parquet" in by_version[version]]
            for table in (DRAFTED, IN_FORCE)
        )
        for version in superseded(versions, drafted, indexed):
            files = sorted(by_version[version], key=lambda name: _ORDER.get(name, 0), reverse=True)
            store.delete(f"{CORPUS}/{version}/{name}" for name in files)

    # --- the two ends

    @property
    def _etags(self) -> Etags:
        return Etags(self.root.parent / MIRROR_NAME)

    def _store(self, patience_s: float | None = None) -> ObjectStore:
        longest = self.patience_s if patience_s is None else min(patience_s, self.patience_s)
        return ObjectStore(self.url, longest)

    def _key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _placing(self) -> FileLock:
        """Held for a moment, in which a local file and the note of its edition are replaced together."""
        return FileLock(self.root.parent / ".mirror.lock")

    # --- which record it is

    def _attach(self, store: ObjectStore) -> None:
        """Make sure that this folder and the store are of one record; the first time, make it so."""
        mine, marker = self._etags.record_id(), _marker(store)
        if mine is None or (marker and marker["record_id"] == mine and not marker["is_whole"]):
            with explained(self.root), FileLock(self.root.parent / ".attach.lock"):
                mine = self._etags.record_id() or self._begin(store)
                self._complete(store, mine)
            marker = _marker(store)
        if marker is None or marker["record_id"] != mine:
            raise StoreError(
                errno.ESTALE,
                f"{self.url} is not the record that {self.root.parent} mirrors: emptied, or another. "
                "Give the former address or another data folder. To put what is in this folder into an empty "
                f"store, remove {MIRROR_NAME} from it",
            )

    def _begin(self, store: ObjectStore) -> str:
        """Say which record this folder is to mirror: that of the store, or of a new one of its own."""
        is_empty = not any(self._own_files())
        marker = _marker(store)
        if marker is None:
            store.require_conditions()
            marker = {"record_id": uuid.uuid4().hex, "is_whole": is_empty}
            # Noted here first, so that a crash leaves no half-filled store that nobody knows to be his.
            self._etags.set_record_id(marker["record_id"])
            try:
                store.put_onto(_MARKER, json.dumps(marker).encode(), None)
            except OvertakenError:  # another machine was quicker, so this one joins it
                self._etags.set_record_id(None)
                return self._begin(store)
            return str(marker["record_id"])
        if not is_empty:
            raise StoreError(
                errno.EEXIST,
                f"{self.root} holds a record of its own, and {self.url} another. Give another data folder or "
                "another address; where this folder once mirrored that store, remove its record/ and "
                f"{MIRROR_NAME}, and all is pulled anew",
            )
        if not marker["is_whole"]:
            raise StoreError(errno.EAGAIN, f"another machine is just filling {self.url}; run again then")
        self._etags.set_record_id(marker["record_id"])
        return str(marker["record_id"])

    def _complete(self, store: ObjectStore, record_id: str) -> None:
        """Put what there is here into a store that this folder is the origin of, and say so last."""
        marker = _marker(store)
        if marker is None or marker["record_id"] != record_id or marker["is_whole"]:
            return
        for path in sorted(self._own_files(), key=lambda path: _order(self._key(path))):
            self._push(store, path)
        found = store.find(_MARKER)
        whole = json.dumps({**marker, "is_whole": True}).encode()
        store.put_onto(_MARKER, whole, found.etag if found else None)

    def _own_files(self) -> Iterator[Path]:
        """Files with rows; others are made where missing, and belong into no store."""
        for path in files_of(self.root, ("*", DRAFTED)):
            key = self._key(path)
            is_ours = _KEY.fullmatch(key) and _version(key) != NO_VERSION
            if is_ours and (path.suffix != ".parquet" or pq.read_metadata(path).num_rows):
                yield path

    # --- moving files

    def _put_version(self, store: ObjectStore, key: str, temporary: Path) -> str:
        """Put a table of a version, after all that has to be there before it."""
        path = self.root / key
        for other in beside(path.parent, path.stem):
            if other.exists():
                self._push(store, other)
            elif self._etags.get(self._key(other)):  # of this version when fewer tracks were enough
                store.delete([self._key(other)])
                self._etags.forget(self._key(other))
        return store.put(key, temporary)

    def _push(self, store: ObjectStore, path: Path) -> None:
        """Put a file that is in place here, unless the store has it."""
        held = self._etags.get(self._key(path))
        if held is None or not held.is_held_by(path):
            self._etags.note(self._key(path), store.put(self._key(path), path), path)

    def _fetch(self, store: ObjectStore, found: Mapping[str, Stored], held: Mapping[str, Edition]) -> None:
        changed = [key for key, stored in found.items() if not self._is_here(stored, held.get(key))]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _, keys in groupby(sorted(changed, key=_order), key=_order):
                for _ in pool.map(lambda key: self._fetch_one(store, key, held.get(key)), keys):
                    pass

    def _is_here(self, stored: Stored, held: Edition | None) -> bool:
        return held is not None and held.etag == stored.etag and held.is_held_by(self.root / stored.key)

    def _fetch_one(self, store: ObjectStore, key: str, held: Edition | None) -> None:
        """Replace a local file, unless another process has done so meanwhile."""
        path = self.root / key
        with ExitStack() as stack, suppress(OvertakenError):
            with atomic_path(path) as temporary:
                stored = store.fetch(key, temporary)
                modified_ns = int(stored.modified.timestamp() * 1e9)
                os.utime(temporary, ns=(modified_ns, modified_ns))
                stack.enter_context(self._placing())
                if self._etags.get(key) != held:
                    raise OvertakenError
                self._etags.forget(key)
            self._etags.note(key, stored.etag, path)

    def _remove(self, gone: Mapping[str, Edition]) -> None:
        """Remove what is in the store no more, unless another process has written it meanwhile."""
        for key in sorted(gone, key=_order, reverse=True):
            with self._placing():
                if self._etags.get(key) == gone[key]:
                    self._etags.forget(key)
                    (self.root / key).unlink(missing_ok=True)


def _order(key: str) -> int:
    return _ORDER.get(key.rpartition("/")[2], 0)


def _version(key: str) -> str | None:
    """Version of the corpus that a file belongs to."""
    parts = _IN_VERSION.fullmatch(key)
    return parts["version"] if parts else None


def _versions(keys: Iterable[str]) -> dict[str, set[str]]:
    """Names of the files of each version of the corpus."""
    found: dict[str, set[str]] = {}
    for parts in filter(None, map(_IN_VERSION.fullmatch, keys)):
        found.setdefault(parts["version"], set()).add(parts["file"])
    return found


def _all(store: ObjectStore) -> dict[str, Stored]:
    return {stored.key: stored for stored in store.list() if _KEY.fullmatch(stored.key)}


def _in_use(found: Mapping[str, Stored]) -> dict[str, Stored]:
    """Leave out versions of the corpus before the one in force, which only their readers need."""
    versions = _versions(found)
    in_force = max((int(v) for v, files in versions.items() if f"{IN_FORCE}.parquet" in files), default=0)
    return {key: stored for key, stored in found.items() if int(_version(key) or in_force) >= in_force}


def _of_batch(store: ObjectStore, batch: str) -> dict[str, Stored]:
    """Look for the ledger and the files of a batch."""
    keys = [_LEDGER, *(_BATCH.format(table=table, batch=batch) for table in BATCHED)]
    looked_for = (store.find(key) for key in keys if _KEY.fullmatch(key))
    return {stored.key: stored for stored in looked_for if stored}


def _marker(store: ObjectStore) -> dict[str, Any] | None:
    content = store.read(_MARKER)
    return dict(json.loads(content)) if content else None
