"""Dagster instances to measure: the SQLite that is shipped, and a PostgreSQL server of our own."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from audio_assets.pipeline import dagster_home

POSTGRES = Path("/usr/lib/postgresql/15/bin")
STORAGES = ("sqlite", "postgres")


@contextmanager
def open_measured(data: Path, storage: str) -> Iterator[tuple[dg.DagsterInstance, Callable[[], float]]]:
    """Open the shipped instance of a data folder, over its own database or PostgreSQL.

    Yields
    ------
    DagsterInstance, callable
        And the processor time so far of its database server.
    """
    home = dagster_home(data)
    if storage == "sqlite":
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance, lambda: 0.0
        return
    with _postgres(data / "postgres") as (url, pid):
        settings = home / "dagster.yaml"
        kept = settings.read_text(encoding="utf-8").partition("\nstorage:")[0]
        settings.write_text(f"{kept}\nstorage:\n  postgres:\n    postgres_url: {url}\n", encoding="utf-8")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance, lambda: _cpu_s(pid)


@contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a server on loopback, with the settings that PostgreSQL comes with."""
    is_root = os.geteuid() == 0
    if not folder.exists():
        folder.mkdir(parents=True)
        if is_root:  # the server refuses to run as root
            shutil.chown(folder, "postgres", "postgres")
        _as_user([POSTGRES / "initdb", "-D", folder, "-A", "trust", "-U", "dagster"], is_root).wait()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-D", folder, "-p", str(port), "-h", "127.0.0.1", "-k", ""]
    server = _as_user([POSTGRES / "postgres", *options], is_root)
    try:
        ready = [POSTGRES / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
        while server.poll() is None and subprocess.run(ready, check=False).returncode != 0:
            pass
        yield f"postgresql+psycopg2://dagster@127.0.0.1:{port}/postgres", server.pid
    finally:
        server.terminate()
        server.wait()


def _as_user(command: list[object], is_root: bool) -> subprocess.Popen[bytes]:
    user = "postgres" if is_root else None
    words = [str(word) for word in command]
    return subprocess.Popen(words, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


def _cpu_s(pid: int) -> float:
    """Processor time of a process, its ended children, and those that live."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(stat.parent.name) == pid:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")
