"""PostgreSQL and Redis of a test's or a benchmark's own: on loopback, with their data in a temporary folder.

What belongs here: starting and stopping Debian's programs without their system services.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
_STARTS_WITHIN_S = 60.0
#: PostgreSQL refuses to run as root; Debian's package makes this user.
_OWNER = "postgres" if os.getuid() == 0 else None

#: What is not installed, if anything is not.
MISSING = None if _PROGRAMS and shutil.which("redis-server") else "there is no PostgreSQL or no redis-server"


class Postgres:
    """A cluster that can be stopped and started again.

    Parameters
    ----------
    folder : Path
        Where to keep it; has to belong to who runs it.
    """

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._log = folder / "log"
        self._runs = False
        self._port = _free_port()
        self.url = f"postgresql+psycopg2://postgres@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "start", "--wait", "--timeout=300", f"--log={self._log}", f"--options={options}")
        self._runs = True

    def stop(self) -> None:
        """Stop it as a crash would: who is connected is cut off, and nothing is tidied up."""
        if self._runs:
            self._run("pg_ctl", "stop", "--wait", "--mode=immediate")
        self._runs = False

    @property
    def pid(self) -> int:
        """Process that all others of the server descend from."""
        return int((self._data / "postmaster.pid").read_text(encoding="utf-8").split()[0])

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_PROGRAMS[-1].with_name(program)), f"--pgdata={self._data}", *arguments]
        # To a file: the server inherits it, and a pipe would be waited for as long as the server lives.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(  # noqa: S603 - of Debian's package, no shell
                command,
                user=_OWNER,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
            output.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program} failed: {output.read().decode()}")


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run an empty PostgreSQL."""
    # Not below pytest's own folder, into which nobody else may look.
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        if _OWNER:
            shutil.chown(folder, _OWNER)
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Redis:
    """A server that keeps nothing when it is stopped, on the same port for good."""

    def __init__(self) -> None:
        self._port = _free_port()
        self._password = secrets.token_hex(16)  # who can write to it can run code in the workers
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it and wait until it listens."""
        options = ["--bind", "127.0.0.1", "--port", str(self._port), "--save", ""]
        self._process = subprocess.Popen(  # noqa: S603 - of Debian's package, no shell
            [shutil.which("redis-server") or "redis-server", *options, "--requirepass", self._password],
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not _listens(self._port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server does not listen on port {self._port}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it."""
        if self._process:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process
        return self._process.pid


@contextmanager
def redis() -> Iterator[Redis]:
    """Run an empty Redis."""
    server = Redis()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
