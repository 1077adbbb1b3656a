"""Where the soak takes place: a library, a data folder, a daemon over them, commands, and a gun."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from audio_assets.attempts import Attempts
from audio_assets.automation.backfills import something_runs
from audio_assets.builds import LIBRARY_SIGNATURE, MANIFEST, approved_metadata, due
from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
from audio_assets.gate import describe, unproven
from audio_assets.outstanding import outstanding
from resources.clap_model import ClapModel
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

SETTLE_S = 3.0
MOST_ATTEMPTS = 6

_PROJECT = Path(__file__).parents[2]
_MARK = "AUDIO_ASSETS_DATA"
_QUICK = {
    "AUDIO_ASSETS_AUTOMATION": "on",
    "AUDIO_ASSETS_SENSOR_INTERVAL_S": "2",
    "AUDIO_ASSETS_SETTLE_S": str(SETTLE_S),
    "AUDIO_ASSETS_GATHER_S": "15",
    "AUDIO_ASSETS_BACKFILL_CRON": "* * * * *",
    "AUDIO_ASSETS_MOST_ATTEMPTS": str(MOST_ATTEMPTS),
}


@dataclass
class Command:
    """A command line that was started; ``is_killed`` if it was shot."""

    arguments: tuple[str, ...]
    process: "subprocess.Popen[bytes]"
    log: Path
    is_killed: bool = False


@dataclass
class Site:
    """Everything below one folder.

    Parameters
    ----------
    folder : Path
        Where; has to be there.
    """

    folder: Path
    commands: list[Command] = field(default_factory=list)
    _daemon: "subprocess.Popen[bytes] | None" = None
    _n_commands: int = 0

    def __post_init__(self) -> None:
        self.library.mkdir()
        self.logs.mkdir()
        copy_demo_checkpoint(self.folder / "model")

    @property
    def library(self) -> Path:
        """The music."""
        return self.folder / "music"

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def logs(self) -> Path:
        """What daemon and commands print."""
        return self.folder / "logs"

    @property
    def warehouse(self) -> Warehouse:
        """The data folder, as the assets see it."""
        return Warehouse(data_dir=str(self.data))

    @property
    def model(self) -> ClapModel:
        """The model."""
        return ClapModel(model_id=str(self.folder / "model"), offline=True)

    def keep_daemon(self) -> bool:
        """Start the daemon unless it runs, as a supervisor would; tell whether it was started."""
        if self._daemon is not None and self._daemon.poll() is None:
            return False
        self._daemon = self._start(("ui", "--part", "daemon"), self.logs / "daemon.log")
        return True

    def command(self, *arguments: str) -> Command:
        """Start a command line over the data folder."""
        self._n_commands += 1
        log = self.logs / f"{self._n_commands:04d}-{arguments[0]}.log"
        command = Command(arguments, self._start(arguments, log), log)
        self.commands.append(command)
        return command

    def finished(self) -> Iterator[Command]:
        """Take the commands that have ended."""
        for command in list(self.commands):
            if command.process.poll() is not None:
                self.commands.remove(command)
                yield command

    def shoot(self, role: str, choice: float) -> str:
        """Kill -9 a process of a role, or everything; say what was hit.

        Parameters
        ----------
        role : str
            ``worker``, ``run``, ``server``, ``daemon``, ``command`` or ``everything``.
        choice : float
            Which one of several, from 0 up to 1.
        """
        targets = [pid for pid, is_of in sorted(self.processes().items()) if role in (is_of, "everything")]
        if not targets:
            return f"no {role}"
        victims = targets if role == "everything" else [targets[int(choice * len(targets))]]
        for command in self.commands:
            command.is_killed |= role in ("everything", "worker") or command.process.pid in victims
        for pid in victims:
            _kill(pid)
        return f"{role}, {len(victims)} of {len(targets)} processes"

    def processes(self) -> dict[int, str]:
        """Role by process id of all processes over the data folder; they inherit its variable."""
        mark = f"{_MARK}={self.data}\0".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes():
                    found[int(folder.name)] = self._role(folder)
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended
                continue
        return found

    def unquiet(self, instance: dg.DagsterInstance) -> str | None:
        """Why not all is current yet; None once it is."""
        listing = TrackLibrary(root=str(self.library)).listing(SETTLE_S)
        if listing.settling:
            return "files settle"
        if listing.signature != approved_metadata(instance, MANIFEST, LIBRARY_SIGNATURE):
            return "the library has not been looked at"
        if something_runs(instance):
            return "runs go on"
        if parts := unproven(instance, self.warehouse.record):
            return f"not proven: {describe(parts)}"
        if work := outstanding(instance, self.warehouse, self.model).work:
            return f"outstanding: {[(item.table, item.batch, len(item.tracks)) for item in work]}"
        if tables := due(instance, self.warehouse):
            return f"to rebuild: {tables}"
        return None

    def has_given_up(self, instance: dg.DagsterInstance) -> bool:
        """Whether the automation will not try some work again by itself."""
        work = outstanding(instance, self.warehouse, self.model).work
        return bool(Attempts(self.data, MOST_ATTEMPTS).given_up(work))

    def close(self) -> None:
        """End everything over the data folder, also what is started meanwhile."""
        while processes := self.processes():
            for pid in processes:
                _kill(pid)
            time.sleep(0.1)
        for command in [*self.commands]:
            command.process.wait()
        if self._daemon is not None:
            self._daemon.wait()

    def _start(self, arguments: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            **_QUICK,
            _MARK: str(self.data),
            "AUDIO_ASSETS_LIBRARY": str(self.library),
            "AUDIO_ASSETS_CLAP_MODEL": str(self.folder / "model"),
            # This checkout, whatever is installed. Second, as Dagster drops the first entry of a safe path.
            "PYTHONPATH": os.pathsep.join([str(self.logs), str(_PROJECT)]),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-m", "audio_assets", *arguments],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _role(self, folder: Path) -> str:
        arguments = (folder / "cmdline").read_bytes().decode(errors="replace")
        if "dagster._daemon" in arguments:
            return "daemon"
        if "forkserver" in arguments:
            return "worker"
        if "grpc" in arguments:
            return "server"
        if any(command.process.pid == int(folder.name) for command in self.commands):
            return "command"
        return "run" if "spawn_main" in arguments else "other"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it was quicker
        return
