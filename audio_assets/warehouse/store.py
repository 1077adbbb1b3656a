"""The object store: listing, reading and putting files under one prefix of an S3 bucket.

What belongs here: the client library, its patience, and its errors in words. What does not: which files there
are and when they are moved (``mirror``).
"""

import datetime as dt
import errno
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from audio_assets.warehouse.files import StorageError

if TYPE_CHECKING:
    from obstore.store import S3Store

_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[A-Za-z0-9._/=-]*))?")
_CHUNK_BYTES = 8 * 2**20


class StoreError(StorageError):
    """The object store cannot be used; nothing was changed here, and the message says what to do."""


class OvertakenError(StoreError):
    """Another machine has written the file meanwhile; read it, merge, and write again."""


@dataclass(frozen=True)
class Stored:
    """A file of the store: its key below the prefix, and which edition of it this is."""

    key: str
    etag: str
    modified: dt.datetime


@dataclass(frozen=True)
class ObjectStore:
    """A prefix of an S3 bucket; endpoint, region and credentials are those of the ``AWS_*`` variables.

    Parameters
    ----------
    url : str
        ``s3://bucket/prefix``.
    patience_s : float
        How long a request that the store refuses or does not answer is repeated, with growing pauses.

    Raises
    ------
    StoreError
        The address is none. From each method: the store refuses, or does not answer for longer than that.
    """

    url: str
    patience_s: float

    def __post_init__(self) -> None:
        if not _URL.fullmatch(self.url):  # not shown, as somebody may have put a password into it
            raise StoreError(
                errno.EINVAL,
                "AUDIO_ASSETS_RECORD_STORE has to be s3://bucket/prefix, of letters, digits and . _ - = /; "
                "credentials belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        if find_spec("obstore") is None:
            raise StoreError(errno.ENOSYS, "a record store needs the extra: pip install 'audio-assets[s3]'")

    def list(self) -> Iterator[Stored]:
        """List everything below the prefix."""
        import obstore

        with self._explained("listed"):
            for chunk in obstore.list(self._client()):
                for found in chunk:
                    yield Stored(found["path"], found["e_tag"] or "", found["last_modified"])

    def find(self, key: str) -> Stored | None:
        """Look for one file."""
        import obstore

        with self._explained("read"):
            try:
                found = obstore.head(self._client(), key)
            except FileNotFoundError:
                return None
        return Stored(key, found["e_tag"] or "", found["last_modified"])

    def read(self, key: str) -> bytes | None:
        """Read a small file; None where there is none."""
        import obstore

        with self._explained("read"):
            try:
                return bytes(obstore.get(self._client(), key).bytes())
            except FileNotFoundError:
                return None

    def fetch(self, key: str, path: Path) -> Stored:
        """Copy a file to a path.

        Raises
        ------
        FileNotFoundError
            There is none any more.
        """
        import obstore

        with self._explained("read"):
            got = obstore.get(self._client(), key)
            with path.open("wb") as file:
                for chunk in got.stream(min_chunk_size=_CHUNK_BYTES):
                    file.write(chunk)
        return Stored(key, got.meta["e_tag"] or "", got.meta["last_modified"])

    def put(self, key: str, path: Path) -> str:
        """Copy a file of any size into the store, over what is there; give its etag."""
        import obstore

        with self._explained("written to"):
            return obstore.put(self._client(), key, path)["e_tag"] or ""

    def put_onto(self, key: str, content: bytes, etag: str | None) -> str:
        """Put a file in the place of one that has this etag, or where there is none if it is None.

        Raises
        ------
        OvertakenError
            Another one is there.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._explained("written to"):
            try:
                put = obstore.put(
                    self._client(),
                    key,
                    content,
                    mode="create" if etag is None else {"e_tag": etag},
                    use_multipart=False,
                )
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                if etag is None and isinstance(error, FileNotFoundError):
                    self._refused("written to", error)  # there is no bucket
                raise OvertakenError(
                    errno.ESTALE, f"{self.url}/{key} was written by another machine meanwhile; run again"
                ) from None
        return put["e_tag"] or ""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files, there or not, one after the other in this order."""
        import obstore

        with self._explained("written to"):
            for key in keys:
                obstore.delete(self._client(), key)

    def require_conditions(self) -> None:
        """Make sure that the server never lets one machine overwrite what another has just written.

        Raises
        ------
        StoreError
            It takes no notice of ``If-Match`` or ``If-None-Match``.
        """
        probe = f"probe-{uuid.uuid4().hex}"
        etag = self.put_onto(probe, b"first", None)
        try:
            second = self.put_onto(probe, b"second", etag)
            heeded = [self._is_refused(probe, stale) for stale in (None, etag)]
            found = self.find(probe)
        finally:
            self.delete([probe])
        if not all(heeded) or found is None or found.etag != second:
            raise StoreError(
                errno.EOPNOTSUPP,
                f"{self.url} does not heed If-Match and If-None-Match, so machines would lose each other's "
                "rows there. Take a store that does, such as Amazon S3 or SeaweedFS",
            )

    def _is_refused(self, key: str, stale: str | None) -> bool:
        try:
            self.put_onto(key, b"of one who knows no better", stale)
        except OvertakenError:
            return True
        return False

    def _client(self) -> "S3Store":
        return _client(self.url, self.patience_s)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Put errors of the client into words; without its own, which go on for pages."""
        from obstore.exceptions import BaseError

        try:
            yield
        except BaseError as error:
            self._refused(what, error)

    def _refused(self, what: str, error: Exception) -> NoReturn:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        code = re.search(r"<Code>(\w+)</Code>", str(error))
        reason = f"{first_line.rstrip()} {code[1]}" if code and code[1] not in first_line else first_line
        raise StoreError(
            errno.EIO,
            f"the record store {self.url} cannot be {what}: {reason.strip()}. See that it answers and "
            "that AWS_ENDPOINT_URL (http needs AWS_ALLOW_HTTP=true), AWS_REGION and the credentials are "
            "right, and run again; finished tracks are kept on this machine",
        ) from None


@cache
def _client(url: str, patience_s: float) -> "S3Store":
    from obstore.store import S3Store

    parts = _URL.fullmatch(url)
    assert parts is not None
    return S3Store(
        parts["bucket"],
        prefix=(parts["prefix"] or "").strip("/") or None,
        # Bounded by silence and not by size: a file may take an hour.
        client_options={
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",
            "timeout": dt.timedelta(days=1),
            "read_timeout": dt.timedelta(seconds=30),
            "connect_timeout": dt.timedelta(seconds=5),
        },
        retry_config={
            "max_retries": 10_000,
            "retry_timeout": dt.timedelta(seconds=patience_s),
            "backoff": {
                "init_backoff": dt.timedelta(seconds=0.2),
                "max_backoff": dt.timedelta(seconds=5),
                "base": 2,
            },
        },
    )
