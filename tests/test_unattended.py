"""Nobody clicks: files are dropped, a daemon runs, tables follow."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import numpy as np
import pytest
import soundfile
from conftest import Workplace
from servers import processes_over

from audio_assets.pipeline import dagster_home, open_instance
from audio_assets.warehouse import Record, arrow_schema
from audio_assets.warehouse.journal import Journal

QUICK = {
    "AUDIO_ASSETS_AUTOMATION": "on",
    "AUDIO_ASSETS_SENSOR_INTERVAL_S": "2",
    "AUDIO_ASSETS_SETTLE_S": "2",
    "AUDIO_ASSETS_GATHER_S": "60",
    "AUDIO_ASSETS_BACKFILL_CRON": "0 0 1 1 *",
}
#: For a machine on which much else runs; an idle one needs half a minute for each of the waits.
WAIT_S = 600.0
TRACKS = 30


def note(path: Path, semitone: int) -> Path:
    """Write one second of a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(44_100) / 44_100
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 220 * 2 ** (semitone / 12) * t), 44_100)
    return path


@contextmanager
def daemon(workplace: Workplace, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Dagster's daemon over a workplace, as systemd would; all its processes end with the block."""
    log = workplace.data.parent / "daemon.log"
    variables = {
        **os.environ,
        **QUICK,
        "AUDIO_ASSETS_DATA": str(workplace.data),
        "AUDIO_ASSETS_LIBRARY": str(workplace.library),
        "AUDIO_ASSETS_CLAP_MODEL": workplace.model,
        "DAGSTER_HOME": str(dagster_home(workplace.data)),
        **environment,
    }
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "audio_assets.definitions"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            for pid in processes_over(workplace.data):
                os.kill(pid, signal.SIGKILL)
            process.wait()


def wait_for(workplace: Workplace, what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        if time.monotonic() > deadline:
            pytest.fail((workplace.data.parent / "daemon.log").read_text()[-6000:])
        time.sleep(0.5)


def indexed(workplace: Workplace) -> set[str]:
    """Paths of the tracks that are published with features and index."""
    link = workplace.data / "warehouse.duckdb"
    if not link.exists():
        return set()
    query = (
        "SELECT audio_path FROM manifest "
        "SEMI JOIN audio_features USING (song_id) SEMI JOIN retrieval_index USING (song_id)"
    )
    with duckdb.connect(str(link.resolve()), read_only=True) as connection:
        return {row[0] for row in connection.execute(query).fetchall()}


def runs_by_job(instance: dg.DagsterInstance) -> Counter[str]:
    return Counter(run.job_name for run in instance.get_runs())


def idle(instance: dg.DagsterInstance) -> bool:
    return all(run.is_finished for run in instance.get_runs())


@dataclass
class Aftermath:
    """A workplace whose daemon runs, after everything over it was once killed in mid-batch."""

    workplace: Workplace
    instance: dg.DagsterInstance
    finished: dict[str, object]
    runs_when_killed: Counter[str]


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory, clap_checkpoint: Path) -> Iterator[Aftermath]:
    """Tracks are dropped, all processes are killed while they are analysed, and another daemon is started."""
    folder = tmp_path_factory.mktemp("unattended")
    workplace = Workplace(folder / "music", folder / "data", str(clap_checkpoint))
    for semitone in range(TRACKS):
        note(workplace.library / f"{semitone}.wav", semitone)
    batch = Record(workplace.data / "record").path("audio_features", "batch-000001").parent
    journal = Journal(batch, arrow_schema("audio_features"))
    with open_instance(workplace.data) as instance:
        with daemon(workplace):
            wait_for(workplace, lambda: journal.rows().num_rows >= 5)
            for pid in processes_over(workplace.data):
                os.kill(pid, signal.SIGKILL)
        finished = {row["song_id"]: row["computed_at"] for row in journal.rows().to_pylist()}
        assert len(finished) < TRACKS, "the batch had ended before it was killed"
        assert not idle(instance), "no run was under way"
        killed = runs_by_job(instance)
        with daemon(workplace):
            yield Aftermath(workplace, instance, finished, killed)


def test_after_everything_was_killed_at_once_the_next_daemon_goes_on_by_itself(aftermath: Aftermath) -> None:
    workplace, instance = aftermath.workplace, aftermath.instance
    wait_for(workplace, lambda: len(indexed(workplace)) == TRACKS)
    wait_for(workplace, lambda: idle(instance))
    made = dict(workplace.sql("SELECT song_id, computed_at FROM audio_features_provenance"))
    assert {i: made[i] for i in aftermath.finished} == aftermath.finished, (
        "finished tracks were computed again"
    )
    assert workplace.sql("SELECT count(*), count(DISTINCT song_id) FROM clap_embeddings") == [
        (TRACKS, TRACKS)
    ]
    assert aftermath.runs_when_killed["refresh_manifest"] == 1
    assert runs_by_job(instance)["refresh_manifest"] == 1
    assert {backfill.title for backfill in instance.get_backfills()} == {"New and changed tracks"}
    assert runs_by_job(instance)["rebuild_tables"] == 1


def test_changed_moved_removed_and_new_files_reach_the_tables_without_a_click(aftermath: Aftermath) -> None:
    workplace, instance = aftermath.workplace, aftermath.instance
    wait_for(workplace, lambda: len(indexed(workplace)) == TRACKS and idle(instance))
    before = runs_by_job(instance)
    made = dict(workplace.sql("SELECT song_id, computed_at FROM audio_features_provenance"))
    (workplace.library / "0.wav").rename(workplace.library / "moved.wav")
    (workplace.library / "1.wav").unlink()
    note(workplace.library / "2.wav", TRACKS)
    note(workplace.library / "new/x.wav", TRACKS + 1)
    unchanged = {f"{number}.wav" for number in range(2, TRACKS)}
    wait_for(workplace, lambda: indexed(workplace) == {"moved.wav", "new/x.wav", *unchanged})
    wait_for(workplace, lambda: idle(instance))
    kept = workplace.sql("SELECT song_id, computed_at FROM audio_features_provenance")
    assert sum(made.get(song_id) == at for song_id, at in kept) == TRACKS - 2, (
        "more was computed than changed"
    )
    launched = runs_by_job(instance) - before
    assert launched["refresh_manifest"] == 1
    assert launched["rebuild_tables"] == 1, "rebuilt more than once for one change"
    assert launched.total() == 4, launched
