"""PostgreSQL and Redis of a test's own: on loopback, with their data in a temporary folder."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))  # where Debian has them
_OWNER = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root

#: What is not installed, if anything: for `programs.needs`.
MISSING = None if _PROGRAMS and shutil.which("redis-server") else "there is no PostgreSQL or no redis-server"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A cluster that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._port = free_port()
        self.url = f"postgresql+psycopg2://postgres@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8")
        self._log = folder / "log"

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "start", "--wait", "--timeout=120", f"--log={self._log}", f"--options={options}")

    def stop(self) -> None:
        """As in a crash: who is connected is cut off, and nothing is tidied up."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_PROGRAMS[-1].with_name(program)), f"--pgdata={self._data}", *arguments]
        # To a file: the server inherits it, and a pipe would be waited for as long as the server lives.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command, user=_OWNER, cwd="/", stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


@contextmanager
def postgres() -> Iterator[Postgres]:
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


@contextmanager
def redis() -> Iterator[str]:
    """A Redis that keeps nothing; its address."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()
            server.wait()


