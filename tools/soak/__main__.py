"""``python -m tools.soak [--seconds 3600] [--seed N] [--folder F]``: exit code 1 on any difference."""

import audio_assets.one_thread  # isort: skip  # noqa: F401 - first, so that the oracle rounds as workers do

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np

from audio_assets.pipeline import open_instance
from audio_assets.warehouse import LINK_NAME, newest_generation, pinned_generation
from tools.soak import comparison
from tools.soak.edits import Library
from tools.soak.oracle import Oracle
from tools.soak.site import Command, Site

_FIRST_TRACKS = 14
_BUSY_S = (50.0, 110.0)
#: Edits have stopped, and processes are killed still: most of the work is done then.
_SHOOTING_S = (0.0, 120.0)
_QUIET_WITHIN_S = 1800.0
_COMMAND_WITHIN_S = 600.0
_MOST_COMMANDS = 2
_TICK_S = 0.25
_POLL_S = 2.0
_EDIT_EVERY_S = 2.0
_SHOT_EVERY_S = 25.0
_COMMAND_EVERY_S = 12.0
_DAEMON_AWAY_S = 8.0

_SHOTS = {"worker": 3, "run": 3, "server": 1, "daemon": 1.5, "command": 1, "everything": 1.5}
_COMMANDS: dict[tuple[str, ...], float] = {
    ("backfill",): 3,
    ("run",): 1.5,
    ("run", "--only-new"): 0.5,
    ("run", "--force", "--path", "one"): 0.5,
    ("retry",): 1,
    ("retry", "--failed"): 0.5,
    ("maintain",): 2,
    ("rollback",): 1,
    ("rollback", "--release"): 1,
    ("status",): 1,
    ("versions",): 0.5,
    ("sql", "SELECT count(*) FROM audio_features", "--live"): 0.5,
}
_DOORS = ("published", "live", "files")
#: 1 may be right (a batch that failed, nothing to roll back to); 2 for a --path that was moved away.
_EXIT_CODES = (0, 1, 2, 3)


@dataclass
class Tally:
    """What happened, for the summary."""

    rounds: int = 0
    compared_tracks: int = 0
    edits: Counter[str] = field(default_factory=Counter)
    shots: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    longest_wait_s: float = 0.0
    differences: list[str] = field(default_factory=list)


class Soak:
    """One run.

    Parameters
    ----------
    folder : Path
        An empty folder for everything.
    seed : int
        Decides what is done; not when the machine gets round to it.
    instance : DagsterInstance
        Of the data folder.
    site : Site
        The place.
    """

    def __init__(self, folder: Path, seed: int, instance: dg.DagsterInstance, site: Site) -> None:
        self._seed = seed
        # One for when, which the machine has a say in, and one for what is done to the files.
        self._rng, edits_rng = np.random.default_rng(seed).spawn(2)
        self._instance = instance
        self._site = site
        self._library = Library(site.library, edits_rng)
        scratch = folder / "oracle"
        scratch.mkdir()
        self._oracle = Oracle(site.model, scratch)
        self._made: dict[str, tuple[str, object]] = {}
        self._is_forced = False
        self._n_problems: Counter[Path] = Counter()
        self._step = 0
        self._daemon_due_s = 0.0
        self._started_s = time.monotonic()
        self.tally = Tally()
        self._readers = {door: self._start_reader(door) for door in _DOORS}

    def run(self, seconds: float) -> None:
        """Soak for so long, and then until all is current once more."""
        self._say(f"drop: {self._library.drop(_FIRST_TRACKS)}")
        while time.monotonic() - self._started_s < seconds:
            self._be_busy(float(self._rng.uniform(*_BUSY_S)))
            if not self._become_quiet():
                return
            self._compare()

    def close(self) -> None:
        """End the readers and the site."""
        for reader in self._readers.values():
            reader.kill()
            reader.wait()
        self._site.close()

    def summary(self) -> dict[str, Any]:
        """Say what happened."""
        tally = self.tally
        looks = {door: (self._site.logs / f"{door}.looks") for door in _DOORS}
        backfills = Counter((b.title or "").rstrip("0123456789-. ") for b in self._instance.get_backfills())
        runs = Counter(f"{run.job_name} {run.status.value}" for run in self._instance.get_runs())
        return {
            "seed": self._seed,
            "seconds": round(time.monotonic() - self._started_s),
            "rounds": tally.rounds,
            "tracks_compared": tally.compared_tracks,
            "edits": dict(tally.edits),
            "kills": dict(tally.shots),
            "commands": dict(tally.commands),
            "backfills": dict(backfills),
            "runs": dict(runs),
            "reader_looks": {
                door: json.loads(path.read_text()) for door, path in looks.items() if path.exists()
            },
            "longest_wait_until_current_s": round(tally.longest_wait_s),
            "differences": len(tally.differences),
        }

    def _be_busy(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._tend()
            if self._happens(_EDIT_EVERY_S):
                kind, what = self._library.edit()
                self.tally.edits[kind] += 1
                self._say(f"{kind}: {what}")
            self._maybe_shoot()
            if self._happens(_COMMAND_EVERY_S) and len(self._site.commands) < _MOST_COMMANDS:
                self._command(*self._choose(_COMMANDS))
            time.sleep(_TICK_S)

    def _become_quiet(self) -> bool:
        """Wait until copies and commands have ended and the daemon has nothing left to do."""
        started_s = time.monotonic()
        shooting_until_s = started_s + float(self._rng.uniform(*_SHOOTING_S))
        reason: str | None = "copies or commands go on"
        said, poll_s = "", started_s
        while reason is not None and time.monotonic() - started_s < _QUIET_WITHIN_S:
            time.sleep(_TICK_S)
            self._tend()
            if time.monotonic() < shooting_until_s:
                self._maybe_shoot()
            if not self._library.is_still or self._site.commands or time.monotonic() < poll_s:
                continue
            poll_s = time.monotonic() + _POLL_S
            reason = self._site.unquiet(self._instance)
            if reason and reason != said:
                self._say(f"waiting: {reason}")
                said = reason
            if reason and "outstanding" in reason and self._site.has_given_up(self._instance):
                self._command("retry")
        waited_s = time.monotonic() - started_s
        self.tally.longest_wait_s = max(waited_s, self.tally.longest_wait_s)
        if reason is not None:
            self._differ(f"not current after {waited_s:.0f} s: {reason}")
        return reason is None

    def _compare(self) -> None:
        data, tracks = self._site.data, self._library.tracks
        for line in self._links():
            self._differ(line)
        self._wait_for(self._command("rollback", "--release"))
        self._wait_for(self._command("maintain"))
        expected = comparison.expect(tracks, self._oracle)
        ids = comparison.ids_by_path(data)
        differences = [
            *comparison.bookkeeping(self._site.library, tracks, self._oracle),
            *comparison.published(data, tracks, expected),
            *comparison.live(data, tracks, expected),
        ]
        if set(ids) == set(tracks):
            differences += [*comparison.exports(data, ids, expected), *self._recomputed(ids)]
        for line in [*differences, *self._links(), *self._leftovers()]:
            self._differ(line)
        self._library.compared(ids)
        self.tally.rounds += 1
        self.tally.compared_tracks += len(tracks)
        self._say(f"compared {len(tracks)} tracks, {len(expected.features)} with features: round is over")

    def _links(self) -> Iterator[str]:
        data = self._site.data
        newest = newest_generation(data)
        wanted = pinned_generation(data) or (newest.stem.removeprefix("warehouse-") if newest else "")
        if (data / LINK_NAME).readlink().name != f"warehouse-{wanted}.duckdb":
            yield f"warehouse.duckdb is {(data / LINK_NAME).readlink()}, not {wanted}"

    def _leftovers(self) -> Iterator[str]:
        for pattern in (".tmp-*", "record/**/.tmp-*", "exports*/**/.tmp-*", "record/**/journal-*"):
            for path in self._site.data.glob(pattern):
                yield f"left over after maintenance: {path}"

    def _recomputed(self, ids: dict[str, str]) -> Iterator[str]:
        """Tracks that nobody touched must not have been analysed again."""
        path = newest_generation(self._site.data)
        with duckdb.connect(str(path), read_only=True) as connection:
            rows = connection.execute(
                "SELECT song_id, content_sha256, computed_at::VARCHAR FROM audio_features_provenance"
            ).fetchall()
        made = {song_id: (sha256, computed_at) for song_id, sha256, computed_at in rows}
        for name, track in self._library.tracks.items():
            song_id = ids[name]
            before = self._made.get(song_id)
            if not (track.is_changed or self._is_forced) and before and made.get(song_id) != before:
                yield f"computed again: {name}, {before} and now {made.get(song_id)}"
        self._made, self._is_forced = made, False

    def _tend(self) -> None:
        self._library.go_on()
        if time.monotonic() >= self._daemon_due_s and self._site.keep_daemon():
            self._say("daemon started")
        for command in self._site.finished():
            self._judge(command)
        for door, reader in self._readers.items():
            self._take_problems(self._site.logs / f"{door}.jsonl")
            if reader.poll() is not None:
                self._differ(f"the reader of {door} ended with {reader.returncode}")
                self._readers[door] = self._start_reader(door)

    def _take_problems(self, log: Path) -> None:
        if log.exists():
            lines = [
                line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"
            ]
            for line in lines[self._n_problems[log] :]:
                self._differ(f"reader {line.strip()}")
            self._n_problems[log] = len(lines)

    def _maybe_shoot(self) -> None:
        if not self._happens(_SHOT_EVERY_S):
            return
        role = self._choose(_SHOTS)
        hit = self._site.shoot(role, float(self._rng.random()))
        if hit.startswith("no "):
            return
        self.tally.shots[role] += 1
        self._say(f"kill -9: {hit}")
        if role in ("daemon", "everything"):
            self._daemon_due_s = time.monotonic() + float(self._rng.uniform(0, _DAEMON_AWAY_S))

    def _command(self, *arguments: str) -> Command:
        self._is_forced |= "--force" in arguments
        self._say(f"audio-assets {' '.join(arguments)}")
        return self._site.command(*arguments)

    def _wait_for(self, command: Command) -> None:
        command.process.wait(_COMMAND_WITHIN_S)
        self._tend()

    def _judge(self, command: Command) -> None:
        code = "killed" if command.is_killed else command.process.returncode
        self.tally.commands[f"{command.arguments[0]} {code}"] += 1
        if command.is_killed:
            return
        printed = command.log.read_text(encoding="utf-8", errors="replace")
        if code not in _EXIT_CODES or "Traceback" in printed:
            self._differ(f"{' '.join(command.arguments)} ended with {code}: {printed[-1500:]}")
        elif code:
            self._say(f"{' '.join(command.arguments)} ended with {code}: {' '.join(printed.split())[-400:]}")

    def _choose(self, weighted: "dict[Any, float]") -> Any:
        weights = np.array(list(weighted.values()))
        return list(weighted)[self._rng.choice(len(weights), p=weights / weights.sum())]

    def _happens(self, every_s: float) -> bool:
        return bool(self._rng.random() < _TICK_S / every_s)

    def _start_reader(self, door: str) -> "subprocess.Popen[bytes]":
        arguments = [door, str(self._site.data), str(self._site.logs / f"{door}.jsonl")]
        project = Path(__file__).parents[2]
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "tools.soak.readers", *arguments], cwd=project
        )

    def _differ(self, what: str) -> None:
        self.tally.differences.append(what)
        self._say(f"DIFFERENCE, seed {self._seed}: {what}")

    def _say(self, what: str) -> None:
        self._step += 1
        elapsed_s = time.monotonic() - self._started_s
        print(f"[{elapsed_s:7.1f} s, step {self._step}, round {self.tally.rounds + 1}] {what}", flush=True)


def main() -> int:
    """Soak, print the summary, and keep the folder if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=None, help="by default the time")
    parser.add_argument("--folder", type=Path, default=None, help="where; by default a temporary folder")
    options = parser.parse_args()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="audio-assets-soak-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"soak in {folder}, seed {seed}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # what a shell started with & would ignore
        signal.signal(number, lambda *_: sys.exit("stopped"))
    site = Site(folder)
    with open_instance(site.data) as instance:
        soak = Soak(folder, seed, instance, site)
        try:
            soak.run(options.seconds)
        finally:
            soak.close()
        print(json.dumps(soak.summary(), indent=1, ensure_ascii=False), flush=True)
    if soak.tally.differences:
        print(f"{len(soak.tally.differences)} differences; everything is kept in {folder}", flush=True)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
