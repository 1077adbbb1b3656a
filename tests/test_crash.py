"""Nothing computed is lost to a kill -9, and nothing finished is computed twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Workplace

from audio_assets.pipeline import open_instance
from audio_assets.warehouse import Record, arrow_schema, publish
from audio_assets.warehouse.files import temporary_path
from audio_assets.warehouse.journal import Journal


def start(workplace: Workplace) -> subprocess.Popen[bytes]:
    command = [
        *(sys.executable, "-m", "audio_assets", "run"),
        *("--library", str(workplace.library), "--data", str(workplace.data)),
        *("--clap-model", workplace.model),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def journalled(workplace: Workplace) -> dict[str, object]:
    """Rows that the running batch has put in safety."""
    path = Record(workplace.data / "record").path("audio_features", "batch-000001")
    rows = Journal(path.parent, arrow_schema("audio_features")).rows().to_pylist()
    return {row["song_id"]: row["computed_at"] for row in rows}


def processes_of(session: int) -> list[str]:
    """Processes of a session that are not just waiting to be reaped."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
    return found


def test_a_killed_run_loses_nothing_and_repeats_nothing(
    workplace: Workplace, tracks: dict[str, Path]
) -> None:
    for path in tracks.values():
        workplace.add(path)
    victim = start(workplace)
    deadline = time.monotonic() + 120
    while len(finished := journalled(workplace)) < 6:
        assert victim.poll() is None, victim.stdout.read().decode()  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    deadline = time.monotonic() + 20
    while processes_of(victim.pid):
        assert time.monotonic() < deadline, f"left running: {processes_of(victim.pid)}"
        time.sleep(0.1)

    again = start(workplace)
    printed = again.communicate(timeout=240)[0].decode()
    assert again.returncode == 0, printed
    made = dict(workplace.sql("SELECT song_id, computed_at FROM audio_features_provenance"))
    assert len(made) == len(tracks)
    assert {song_id: made[song_id] for song_id in finished} == finished, "finished tracks were computed again"
    assert workplace.sql("SELECT count(*), count(DISTINCT song_id) FROM clap_embeddings") == [(24, 24)]
    assert not list(workplace.data.rglob("journal-*")), "the journal outlived its batch"
    with open_instance(workplace.data) as instance:
        assert all(run.is_finished for run in instance.get_runs()), "the killed run counts as running"


def test_an_interrupt_ends_the_run_in_a_sentence(workplace: Workplace, tracks: dict[str, Path]) -> None:
    for path in tracks.values():
        workplace.add(path)
    run = start(workplace)
    deadline = time.monotonic() + 120
    while len(journalled(workplace)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    printed = run.communicate(timeout=60)[0].decode()
    assert run.returncode == 130, printed
    assert "run again to go on" in printed
    assert "Traceback" not in printed
    assert not (workplace.data / "warehouse.duckdb").exists(), "half a run was published"
    assert len(journalled(workplace)) >= 3


@pytest.mark.parametrize("length", [0.5, 1.0])
def test_what_a_killed_writer_left_is_in_nobodys_way(
    workplace: Workplace, tracks: dict[str, Path], length: float
) -> None:
    """Beside each file of the record, a whole and a torn copy of it under the name it is written by."""
    for path in list(tracks.values())[:2]:
        workplace.add(path)
    workplace.run()
    for path in list((workplace.data / "record").rglob("*.parquet")):
        content = path.read_bytes()
        temporary_path(path.parent).write_bytes(content[: int(length * len(content))])
    publish(Record(workplace.data / "record"), workplace.data)
    assert workplace.sql("SELECT count(*) FROM audio_features") == [(2,)]
    assert workplace.sql("SELECT count(*) FROM clap_embeddings") == [(2,)]


def test_a_torn_journal_gives_its_whole_rows(tmp_path: Path) -> None:
    schema = arrow_schema("retrieval_index")
    journal = Journal(tmp_path, schema)
    with journal.writer() as writer:
        for song_id in ("a", "b", "c"):
            writer.append({"song_id": song_id, "content_sha256": "x", "embedding": [1.0] * 512})
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    found = set()
    for length in [*range(0, len(whole), 97), len(whole)]:
        file.write_bytes(whole[:length])
        rows = journal.rows()["song_id"].to_pylist()
        assert rows == ["a", "b", "c"][: len(rows)]
        found.add(len(rows))
    assert found == {0, 1, 2, 3}
