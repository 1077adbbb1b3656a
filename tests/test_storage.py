"""Storage over months: versions that switch together, rollback, retention, and disks that refuse."""

import datetime as dt
import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audio_assets.corpus import index_corpus, load_index, normalise_corpus
from audio_assets.embeddings import EmbeddingSettings, Windowing
from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.library import Entry
from audio_assets.warehouse import (
    EXPORTED_TABLES,
    DiskFullError,
    Outcome,
    ReadOnlyFolderError,
    Record,
    RollbackError,
    StorageError,
    arrow_schema,
    complete_batch,
    connect_live,
    export_notebook_files,
    exported_blocks,
    ledger_to_table,
    list_generations,
    measured_rate,
    open_live,
    owner,
    pending,
    publish,
    release,
    roll_back,
    sweep,
)
from audio_assets.warehouse.files import temporary_path
from audio_assets.warehouse.generations import next_name
from audio_assets.warehouse.journal import Journal
from audio_assets.warehouse.layout import below
from resources.warehouse import UnknownBatchError, Warehouse

SETTINGS = EmbeddingSettings("model", "revision", "weights", "config", Windowing(6), "float32")
BATCH = "batch-000001"
KILLED = -signal.SIGKILL


def entries(n: int, generation: int = 0) -> list[Entry]:
    """Tracks whose bytes are another in each generation."""
    return [
        Entry(f"t{i:04d}", f"{i}.wav", "live", batch=BATCH, content_sha256=f"{generation}-{i}")
        for i in range(n)
    ]


def fill(record: Record, n: int, generation: int = 0) -> list[Entry]:
    """A record of one batch up to the raw embeddings, which are others in each generation."""
    tracks = entries(n, generation)
    ids = [track.song_id for track in tracks]
    vectors = np.random.default_rng(generation).standard_normal((n, 512)) + 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [{"song_id": t.song_id, "content_sha256": t.content_sha256} for t in tracks]
    record.write("track_manifest", ledger_to_table(tracks, pa.table({"song_id": ids, "audio_path": ids})))
    features = [{**row, "extractor_version": EXTRACTOR_VERSION, "tempo_bpm": 100.0} for row in rows]
    raw = [
        {**row, "settings_version": SETTINGS.version, "embedding": vector.astype(np.float32)}
        for row, vector in zip(rows, vectors, strict=True)
    ]
    for name, made in (("audio_features", features), ("clap_embeddings", raw)):
        record.write(name, pa.Table.from_pylist(made, schema=arrow_schema(name)), batch=BATCH)
    return tracks


def rebuild(record: Record, n: int = 4, generation: int = 0) -> None:
    fill(record, n, generation)
    normalise_corpus(record, SETTINGS)
    index_corpus(record, SETTINGS, None)


def indexed(record: Record) -> int:
    stored = load_index(record)
    assert stored is not None
    return len(stored[0].track_ids)


def tracks_read(folder: Path) -> int:
    with duckdb.connect(str((folder / "warehouse.duckdb").resolve()), read_only=True) as reader:
        row = reader.execute("SELECT count(*) FROM retrieval_index").fetchone()
    assert row is not None
    return int(row[0])


def child(code: str, *arguments: object, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run code that may kill itself; this module's helpers are imported in it."""
    command, environment = command_of(code, *arguments)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=check, timeout=120)


def child_at_work(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start the same, and go on meanwhile."""
    command, environment = command_of(code, *arguments)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def command_of(code: str, *arguments: object) -> tuple[list[str], dict[str, str]]:
    """Name the command and the environment in which this module's helpers can be imported."""
    prelude = "import os, signal, sys, test_storage as t\nfrom pathlib import Path\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return [sys.executable, "-c", prelude + textwrap.dedent(code), *map(str, arguments)], environment


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "record")


# --- one version of the normalised table and the index ----------------------------------------------


def test_the_normalised_table_and_the_index_switch_together(record: Record) -> None:
    rebuild(record, 3)
    fill(record, 5)
    normalise_corpus(record, SETTINGS)

    def counts() -> tuple[int, ...]:
        with connect_live(record) as live:
            return tuple(
                live.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
                for name in ("clap_embeddings_normalized", "retrieval_index")
            )

    assert counts() == (3, 3), "a normalised table is seen before its index"
    with record.snapshot() as still, connect_live(still) as frozen:
        assert frozen.execute("SELECT count(*) FROM clap_embeddings_normalized").fetchone() == (3,)
    index_corpus(record, SETTINGS, None)
    assert counts() == (5, 5)
    assert indexed(record) == 5


def test_what_is_opened_live_stays_as_it_was_while_batches_are_replaced(record: Record) -> None:
    """DuckDB alone fails such a query: it opens a file when it plans the query, and again when it runs it."""
    fill(record, 3)
    query = "SELECT song_id FROM clap_embeddings ORDER BY ALL"
    stop = threading.Event()

    def replace() -> None:
        for n_tracks in cycle((5, 2, 7)):
            fill(record, n_tracks)
            if stop.is_set():
                return

    with open_live(record) as before, ThreadPoolExecutor(1) as pool:
        seen = before.execute(query).fetchall()
        replacing = pool.submit(replace)
        try:
            for _ in range(60):
                assert before.execute(query).fetchall() == seen
                with open_live(record) as now:
                    assert len(now.execute(query).fetchall()) in (2, 3, 5, 7)
        finally:
            stop.set()
        replacing.result()


def test_a_live_session_never_sees_one_of_each(record: Record) -> None:
    """While versions are switched all the time; vectors of two versions differ, so a mix shows."""
    rebuild(record)
    stop = threading.Event()
    query = """
        SELECT count(*) FROM clap_embeddings_normalized AS a FULL JOIN retrieval_index AS b USING (song_id)
        WHERE a.embedding IS DISTINCT FROM b.embedding
    """

    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            with connect_live(record) as live:
                seen.append(live.execute(query).fetchall()[0][0])

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        started = time.monotonic()
        for generation in count(1):
            rebuild(record, 4, generation)
            if (len(seen) > 3 or reading.done()) and time.monotonic() - started > 4:
                break
        stop.set()
        reading.result()
    assert set(seen) == {0}
    assert len(list((record.root / "corpus").iterdir())) <= 3, "superseded versions pile up"


@pytest.mark.parametrize("moment", ["audio_assets.corpus.index_corpus", "audio_assets.warehouse.files.sync"])
def test_killed_before_the_index_is_in_place_readers_keep_the_old_pair(record: Record, moment: str) -> None:
    rebuild(record, 3)
    fill(record, 5)
    done = child(
        """
        import audio_assets.corpus, audio_assets.warehouse.files
        module, name = sys.argv[2].rsplit(".", 1)
        record = t.Record(Path(sys.argv[1]))
        t.normalise_corpus(record, t.SETTINGS)
        setattr(sys.modules[module], name, lambda *a: os.kill(os.getpid(), signal.SIGKILL))
        audio_assets.corpus.index_corpus(record, t.SETTINGS, None)
        """,
        record.root,
        moment,
    )
    assert done.returncode == KILLED, done.stderr
    with connect_live(record) as live:
        assert live.execute("SELECT count(*) FROM clap_embeddings_normalized").fetchone() == (3,)
    index_corpus(record, SETTINGS, None)
    assert indexed(record) == 5, "the finished half was lost"


# --- generations, rollback --------------------------------------------------------------------------


def test_rollback_gives_the_old_generation_at_once_and_holds_it(record: Record, tmp_path: Path) -> None:
    for n in (3, 4, 5):
        rebuild(record, n)
        publish(record, tmp_path)
    oldest = list_generations(tmp_path)[0]
    assert roll_back(tmp_path).is_pinned
    assert tracks_read(tmp_path) == 4
    roll_back(tmp_path, oldest.name)
    assert tracks_read(tmp_path) == 3
    for n in (6, 7, 8):
        rebuild(record, n)
        publication = publish(record, tmp_path)
        assert publication.held_at == oldest.name
        assert tracks_read(tmp_path) == 3, "a publication undid the rollback"
    kept = list_generations(tmp_path)
    assert [g.name for g in kept if g.is_read] == [oldest.name]
    assert len(kept) == 4, "three newest, and the one that is read"
    release(tmp_path)
    assert tracks_read(tmp_path) == 8
    rebuild(record, 9)
    assert publish(record, tmp_path).held_at is None
    assert tracks_read(tmp_path) == 9
    assert oldest.name not in {g.name for g in list_generations(tmp_path)}


def test_there_is_nothing_to_roll_back_to(record: Record, tmp_path: Path) -> None:
    rebuild(record)
    for name in (None, "20200101T000000000000", "../../etc/passwd"):
        with pytest.raises(RollbackError):
            roll_back(tmp_path, name)
    only = publish(record, tmp_path)
    with pytest.raises(RollbackError, match="before"):
        roll_back(tmp_path)
    with pytest.raises(RollbackError, match=only.generation):
        roll_back(tmp_path, "nonsense")
    assert tracks_read(tmp_path) == 4


def test_names_only_grow_when_the_clock_jumps_back(tmp_path: Path) -> None:
    future = (dt.datetime.now() + dt.timedelta(days=900)).strftime("%Y%m%dT%H%M%S%f")
    names = [future]
    for _ in range(3):
        (tmp_path / f"warehouse-{names[-1]}.duckdb").touch()
        names.append(next_name(tmp_path))
    assert names == sorted(set(names))


def test_copies_that_somebody_named_are_neither_read_nor_removed(record: Record, tmp_path: Path) -> None:
    rebuild(record, 3)
    first = publish(record, tmp_path).path
    export_notebook_files(record, tmp_path)
    copies = [tmp_path / f"warehouse-{name}.duckdb" for name in ("2025-paper", "backup")]
    for copy in copies:
        shutil.copyfile(first, copy)
    folders = [tmp_path / f"exports-{name}" for name in ("20251126", "000009-mine")]
    for folder in folders:
        shutil.copytree((tmp_path / "exports").resolve(), folder)
    rebuild(record, 4, generation=1)
    for _ in range(3):
        publish(record, tmp_path)
        export_notebook_files(record, tmp_path)
    release(tmp_path)
    assert tracks_read(tmp_path) == 4
    assert exported(tmp_path / "exports") == [4, 4, 4, 4]
    assert all(path.exists() for path in (*copies, *folders))


def test_a_folder_that_goes_while_the_ones_around_it_are_listed_is_left_out(tmp_path: Path) -> None:
    """As a snapshot that another process ends with, or a version that it drops."""
    for name in ("a", "b", "c"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").touch()
    listed = below(tmp_path)
    found = [next(listed)]
    shutil.rmtree(tmp_path / "b")
    found += listed
    assert {path.relative_to(tmp_path).as_posix() for path in found if path.is_file()} == {
        "a/deep/file",
        "c/deep/file",
    }


def test_a_file_replaced_within_one_tick_of_the_clock_is_another_file(record: Record) -> None:
    """A clock that stands still or jumps back must not make a rebuild look current."""
    from audio_assets.warehouse import fingerprint

    fill(record, 4)
    path = record.path("audio_features", BATCH)
    before = fingerprint(record.root)
    status = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert fingerprint(record.root) != before


@pytest.mark.parametrize(
    "moment",
    [
        "publish._build",
        "publish._refuse_bad_numbers",
        "publish.sync",
        "publish.switch_to",
        "generations._link",
        "publish.drop_old_generations",
    ],
)
def test_killed_in_mid_publication_readers_have_a_whole_generation(
    record: Record, tmp_path: Path, moment: str
) -> None:
    rebuild(record, 3)
    publish(record, tmp_path)
    rebuild(record, 5)
    done = child(
        """
        import audio_assets.warehouse as w, importlib
        module, name = sys.argv[3].split(".")
        module = importlib.import_module("audio_assets.warehouse." + module)
        setattr(module, name, lambda *a: os.kill(os.getpid(), signal.SIGKILL))
        importlib.import_module("audio_assets.warehouse.publish").publish(
            w.Record(Path(sys.argv[1])), Path(sys.argv[2]))
        """,
        record.root,
        tmp_path,
        moment,
    )
    assert done.returncode == KILLED, done.stderr
    assert tracks_read(tmp_path) == (5 if moment == "publish.drop_old_generations" else 3)
    publish(record, tmp_path)
    assert tracks_read(tmp_path) == 5
    sweep(record, tmp_path, 3)
    assert not list(tmp_path.rglob(".tmp-*")), "a killed publication left something"


def test_killed_in_mid_rollback_the_next_publication_ends_it(record: Record, tmp_path: Path) -> None:
    for n in (3, 4):
        rebuild(record, n)
        publish(record, tmp_path)
    done = child(
        """
        from audio_assets.warehouse import generations
        generations._link = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
        generations.roll_back(Path(sys.argv[1]))
        """,
        tmp_path,
    )
    assert done.returncode == KILLED, done.stderr
    assert tracks_read(tmp_path) == 4
    assert publish(record, tmp_path).held_at
    assert tracks_read(tmp_path) == 3


# --- sweeping ---------------------------------------------------------------------------------------


def test_a_sweep_takes_what_killed_writers_left_and_nothing_of_live_ones(
    record: Record, tmp_path: Path
) -> None:
    rebuild(record)
    publish(record, tmp_path)
    batch = record.path("clap_embeddings", BATCH).parent
    mine = temporary_path(batch)
    mine.write_bytes(b"being written")
    os.utime(mine, (0, 0))  # by a clock that jumped ahead since
    left = child(
        """
        from audio_assets.warehouse.files import temporary_path
        path = temporary_path(Path(sys.argv[1])); path.mkdir(); (path / "torn").write_bytes(b"half")
        path = temporary_path(Path(sys.argv[1])); path.write_bytes(b"half")
        """,
        batch,
        check=True,
    )
    assert not left.stderr
    assert len(list(batch.glob(".tmp-*"))) == 3
    swept = sweep(record, tmp_path, 3)
    assert len(swept.removed["strays"]) == 2
    assert list(batch.glob(".tmp-*")) == [mine]
    assert swept.freed_bytes >= 8
    assert tracks_read(tmp_path) == 4


def test_a_journal_goes_once_the_record_has_its_rows_and_its_writer_has_ended(
    record: Record, tmp_path: Path
) -> None:
    """Killed between the Parquet file and the journal's end; and killed in mid-batch."""
    tracks = fill(record, 4)
    folder = record.path("audio_features", BATCH).parent
    write = """
        folder, ids = Path(sys.argv[1]), sys.argv[2].split()
        rows = t.Record(folder.parents[1]).read("audio_features", t.BATCH).to_pylist()
        with t.Journal(folder, t.arrow_schema("audio_features")).writer() as writer:
            for row in rows:
                if row["song_id"] in ids: writer.append(row)
            if "new" in ids: writer.append({**rows[0], "song_id": "new"})
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert child(write, folder, " ".join(t.song_id for t in tracks)).returncode == KILLED
    assert child(write, folder, "t0000 new").returncode == KILLED
    journal = Journal(folder, arrow_schema("audio_features"))
    with journal.writer() as writer:
        writer.append(record.read("audio_features", BATCH).to_pylist()[0])
        assert len(sweep(record, tmp_path, 3).removed["journals"]) == 1
    assert set(journal.rows()["song_id"].to_pylist()) == {"t0000", "new"}
    assert len(list(folder.glob("journal-*"))) == 2


def test_a_reader_keeps_a_generation_that_is_swept_away_under_it(record: Record, tmp_path: Path) -> None:
    rebuild(record, 3)
    publish(record, tmp_path)
    with duckdb.connect(str((tmp_path / "warehouse.duckdb").resolve()), read_only=True) as reader:
        for n in (4, 5):
            rebuild(record, n)
            publish(record, tmp_path, kept=2)
        sweep(record, tmp_path, kept=2)
        assert len(list_generations(tmp_path)) == 2
        assert len(reader.execute("SELECT * FROM clap_embeddings").fetchall()) == 3


def test_a_process_of_before_the_machine_was_started_anew_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    tag = owner.owner_tag()
    assert owner.is_dead(tag) is False
    monkeypatch.setattr(owner, "_boot", lambda: "another")
    assert owner.is_dead(tag) is True


def test_drafts_that_fail_their_checks_do_not_pile_up(record: Record, tmp_path: Path) -> None:
    rebuild(record, 3)
    fill(record, 4)
    for _ in range(5):
        normalise_corpus(record, SETTINGS)
    sweep(record, tmp_path, 3)
    assert len(list((record.root / "corpus").iterdir())) <= 4
    with connect_live(record) as live:
        assert live.execute("SELECT count(*) FROM clap_embeddings_normalized").fetchone() == (3,)
    index_corpus(record, SETTINGS, None)
    assert indexed(record) == 4


def test_the_rate_is_of_the_time_that_was_worked(record: Record) -> None:
    """A batch of long ago, to which one changed track came today and then two more, a second each."""
    now = dt.datetime.now(dt.UTC)
    ages_s = [1e7 + n for n in range(20)] + [2.0, 1.0, 0.0]
    rows = [{"song_id": f"{a}", "computed_at": now - dt.timedelta(seconds=a)} for a in ages_s]
    record.write(
        "audio_features", pa.Table.from_pylist(rows, schema=arrow_schema("audio_features")), batch=BATCH
    )
    assert measured_rate(record, "audio_features") == pytest.approx(1.0)


def test_a_journal_that_cannot_be_read_now_is_not_taken_for_an_empty_one(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(record.path("audio_features", BATCH).parent, arrow_schema("audio_features"))
    with journal.writer() as writer:
        writer.append({"song_id": "a"})
    with monkeypatch.context() as patch:
        patch.setattr(pa.ipc, "open_stream", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
        with pytest.raises(OSError, match="I/O error"):
            journal.rows()
    assert journal.rows().num_rows == 1


def exported(folder: Path) -> list[int]:
    """Rows of each of the files for notebooks."""
    return [sum(block.num_rows for block in exported_blocks(folder / name)) for name in EXPORTED_TABLES]


def test_the_files_for_notebooks_switch_together(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "exports"
    (link / "embeddings").mkdir(parents=True)  # of a version that replaced file by file
    rebuild(record, 3)
    export_notebook_files(record, tmp_path)
    assert exported(link) == [3, 3, 3, 3]
    held = link.resolve()

    rebuild(record, 4, generation=1)
    with monkeypatch.context() as patch:
        patch.setattr("audio_assets.warehouse.exports._index_mean", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export_notebook_files(record, tmp_path)
    assert exported(link) == [3, 3, 3, 3], "half of them were switched"
    export_notebook_files(record, tmp_path)
    assert exported(link) == [4, 4, 4, 4]
    assert exported(held) == [3, 3, 3, 3], "somebody was reading it"
    for _ in range(3):
        export_notebook_files(record, tmp_path)
    assert not held.exists()
    assert len(list(tmp_path.glob("exports-*"))) == 2
    assert not list(tmp_path.glob(".tmp-*"))


def test_vectors_that_do_not_fit_into_memory_are_exported_in_the_manifests_order(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches hold them in another. With a fifth of the memory, as 100,000 tracks take too long to make."""
    monkeypatch.setattr("audio_assets.warehouse.doors._MEMORY_BYTES", 96 * 10**6)
    n = 16_000
    fill(record, n)
    raw = record.read("clap_embeddings", BATCH)
    assert raw is not None
    shuffled = raw.take(np.random.default_rng(0).permutation(n))
    for number in range(4):
        part = shuffled.slice(n // 4 * number, n // 4)
        record.write("clap_embeddings", part, batch=f"batch-{number + 1:06d}")
    normalise_corpus(record, SETTINGS)
    index_corpus(record, SETTINGS, None)
    export_notebook_files(record, tmp_path)
    table = pa.concat_tables(exported_blocks(tmp_path / "exports" / "embeddings" / "clap_embeddings.npz"))
    assert table["song_id"].to_pylist() == [track.song_id for track in entries(n)]
    assert table["embedding"].combine_chunks().equals(raw["embedding"].combine_chunks())


@pytest.mark.parametrize("kill_at", [1, 3, 5])
def test_a_sweep_may_be_killed_anywhere(record: Record, tmp_path: Path, kill_at: int) -> None:
    for n in (3, 4, 5):
        rebuild(record, n)
        publish(record, tmp_path)
    for number in (1, 2):
        version = record.root / "corpus" / f"{number:06d}"
        version.mkdir(exist_ok=True)
        (version / "clap_embeddings_normalized.parquet").write_bytes(b"an unfinished one")
    done = child(
        """
        import pathlib, shutil
        from audio_assets.warehouse import sweep
        left = int(sys.argv[3])
        def counting(original):
            def call(*a, **k):
                global left
                left -= 1
                if left == 0: os.kill(os.getpid(), signal.SIGKILL)
                return original(*a, **k)
            return call
        os.unlink = counting(os.unlink); os.rmdir = counting(os.rmdir)
        pathlib.Path.unlink = counting(pathlib.Path.unlink)
        sweep(t.Record(Path(sys.argv[1])), Path(sys.argv[2]), 2)
        """,
        record.root,
        tmp_path,
        kill_at,
    )
    assert done.returncode in (KILLED, 0), done.stderr
    assert done.returncode == KILLED or kill_at > 4
    with connect_live(record) as live:
        assert live.execute("SELECT count(*) FROM clap_embeddings_normalized").fetchone() == (5,)
    assert tracks_read(tmp_path) == 5
    sweep(record, tmp_path, 2)
    assert len(list_generations(tmp_path)) == 2
    rebuild(record, 6)
    publish(record, tmp_path)
    assert tracks_read(tmp_path) == 6


# --- disks that refuse ------------------------------------------------------------------------------


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small file system, with options as for ``mount -o``; again with others to remount it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount_it(options: str) -> Path:
        again = "remount," if os.path.ismount(folder) else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{again}{options}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        return folder

    yield mount_it
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def batch_of(record: Record, n: int, computed: list[str], anew: list[str] | None = None) -> list[Entry]:
    """Run a batch of embeddings; notes which tracks were computed."""
    tracks = entries(n)

    def compute(todo: list[Entry]) -> Iterator[Outcome]:
        for track in todo:
            computed.append(track.song_id)
            vector = np.random.default_rng(len(computed)).standard_normal(512)
            row = {
                "settings_version": SETTINGS.version,
                "embedding": (vector / np.linalg.norm(vector)).astype(np.float32),
            }
            yield Outcome(track.song_id, row)

    version = ("settings_version", SETTINGS.version)
    complete_batch(record, "clap_embeddings", BATCH, lambda: tracks, version, compute, anew or ())
    return tracks


class EndsAtTheThird(list[str]):
    """Stands for a run that is ended in mid-batch."""

    def append(self, song_id: str) -> None:
        if len(self) == 2:
            raise KeyboardInterrupt
        super().append(song_id)


def test_a_disk_that_fills_up_in_mid_batch_loses_nothing(mount: Callable[[str], Path]) -> None:
    data = mount("size=500k")
    record = Record(data / "record")
    computed: list[str] = []
    with pytest.raises(DiskFullError, match=r"MB free.*run again"):
        batch_of(record, 300, computed)
    first = len(computed)
    assert 10 < first < 300
    assert record.read("clap_embeddings", BATCH) is None
    assert not list(data.rglob(".tmp-*"))
    mount("size=8m")
    batch_of(record, 300, computed)
    assert len(computed) <= 301, "finished tracks were computed again"
    table = record.read("clap_embeddings", BATCH)
    assert table.num_rows == 300
    assert not list(data.rglob("journal-*"))


def test_a_disk_that_fills_up_in_mid_publication_keeps_the_old_generation(
    mount: Callable[[str], Path],
) -> None:
    data = mount("size=40m")
    record = Record(data / "record")
    rebuild(record, 3)
    publish(record, data)
    rebuild(record, 1000)
    used = sum(path.stat().st_size for path in data.rglob("*") if path.is_file() and not path.is_symlink())
    mount(f"size={used // 1024 + 1500}k")
    with pytest.raises(DiskFullError, match="No space left"):
        publish(record, data)
    assert tracks_read(data) == 3
    assert not list(data.rglob(".tmp-*"))
    assert len(list_generations(data)) == 1
    for room_kb in (1500, 60):
        mount(f"size={used // 1024 + room_kb}k")
        with pytest.raises(DiskFullError, match="No space left"):
            export_notebook_files(record, data)
    with pytest.raises(DiskFullError, match="No space left"):
        rebuild(record, 1000, 1)
    mount("size=40m")
    publish(record, data)
    assert tracks_read(data) in (0, 1000)
    rebuild(record, 1000, 1)
    publish(record, data)
    assert tracks_read(data) == 1000


def test_a_read_only_data_folder_is_answered_in_a_sentence(mount: Callable[[str], Path]) -> None:
    data = mount("size=40m")
    record = Record(data / "record")
    rebuild(record, 3)
    for _ in range(2):
        publish(record, data)
    mount("ro")
    attempts: list[Callable[[], object]] = [
        lambda: publish(record, data),
        lambda: roll_back(data),
        lambda: index_corpus(record, SETTINGS, None),
        lambda: batch_of(record, 4, []),
    ]
    for attempt in attempts:
        with pytest.raises(ReadOnlyFolderError, match="Mount it read-write"):
            attempt()
    assert tracks_read(data) == 3
    mount("rw")
    rebuild(record, 4)
    publish(record, data)
    assert tracks_read(data) == 4


@pytest.mark.parametrize("moment", ["pq.write_table", "sync", "Journal.drop"])
def test_killed_while_a_batch_is_written_nothing_is_computed_again(record: Record, moment: str) -> None:
    done = child(
        """
        import pyarrow.parquet as pq
        from audio_assets.warehouse import files
        from audio_assets.warehouse.journal import Journal
        def die(*a, **k): os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[2] == "sync": files.sync = die
        elif sys.argv[2] == "Journal.drop": Journal.drop = die
        else:
            def torn(table, path, **k): Path(path).write_bytes(b"PAR1 and a bit"); die()
            pq.write_table = torn
        t.batch_of(t.Record(Path(sys.argv[1])), 20, [])
        """,
        record.root,
        moment,
    )
    assert done.returncode == KILLED, done.stderr
    computed: list[str] = []
    batch_of(record, 20, computed)
    assert computed == []
    table = record.read("clap_embeddings", BATCH)
    assert sorted(table["song_id"].to_pylist()) == [track.song_id for track in entries(20)]
    folder = record.path("clap_embeddings", BATCH).parent
    sweep(record, record.root.parent, 3)
    assert [path.name for path in folder.iterdir()] == ["part.parquet"]


def test_results_that_are_made_anew_replace_the_former_ones_only_when_all_are_there(record: Record) -> None:
    tracks = batch_of(record, 5, [])
    former = record.read("clap_embeddings", BATCH)
    anew = [track.song_id for track in tracks[:3]]
    with pytest.raises(KeyboardInterrupt):
        batch_of(record, 5, EndsAtTheThird(), anew)
    assert record.read("clap_embeddings", BATCH).equals(former)
    killed = """
        def die(*a, **k): os.kill(os.getpid(), signal.SIGKILL)
        t.Record.write = die
        t.batch_of(t.Record(Path(sys.argv[1])), 5, [], sys.argv[2].split())
    """
    done = child(killed, record.root, " ".join(anew))
    assert done.returncode == KILLED, done.stderr
    assert len(sweep(record, record.root.parent, 3).removed["journals"]) == 2, "what is done anew would stay"
    assert pending(record, "clap_embeddings", BATCH, tracks, ("settings_version", SETTINGS.version)) == []
    computed: list[str] = []
    batch_of(record, 5, computed, anew)
    assert sorted(computed) == anew
    now = record.read("clap_embeddings", BATCH)
    kept = set(now["computed_at"].to_pylist()) & set(former["computed_at"].to_pylist())
    assert len(kept) == 2


@pytest.mark.parametrize("later", ["first", "second"])
def test_two_runs_of_one_batch_that_saw_different_ledgers_lose_no_row(record: Record, later: str) -> None:
    """One track changes and one comes back while the first run is at work; the second run acts on that."""
    before = entries(4)
    after = [replace(before[0], content_sha256="changed"), *before[1:], Entry("back", "b.wav", "live", BATCH)]
    ledger, made = [before], {"first": [], "second": []}
    begun, go_on = ({run: threading.Event() for run in made} for _ in range(2))

    def complete(run: str) -> None:
        def compute(todo: list[Entry]) -> Iterator[Outcome]:
            begun[run].set()
            go_on[run].wait(60)
            for track in todo:
                made[run].append((track.song_id, track.content_sha256))
                yield Outcome(track.song_id, {"tempo_bpm": 100.0})

        version = ("extractor_version", EXTRACTOR_VERSION)
        complete_batch(record, "audio_features", BATCH, lambda: ledger[0], version, compute)

    with ThreadPoolExecutor(2) as pool:
        runs = {}
        for run in made:
            runs[run] = pool.submit(complete, run)
            assert begun[run].wait(60)
            ledger[0] = after
        for run in sorted(made, key=lambda run: run == later):
            go_on[run].set()
            runs[run].result()
    assert made == {
        name: [(t.song_id, t.content_sha256) for t in seen]
        for name, seen in (("first", before), ("second", after))
    }
    rows = record.read("audio_features", BATCH).to_pylist()
    assert [(row["song_id"], row["content_sha256"]) for row in rows] == [
        (track.song_id, track.content_sha256) for track in after
    ]
    assert pending(record, "audio_features", BATCH, after, ("extractor_version", EXTRACTOR_VERSION)) == []


def test_a_track_that_is_away_while_its_batch_is_written_finds_its_result_again(record: Record) -> None:
    """A folder that is moved while others are listed is not seen by that look."""
    version, made = ("extractor_version", EXTRACTOR_VERSION), []

    def compute(todo: list[Entry]) -> Iterator[Outcome]:
        for track in todo:
            made.append((track.song_id, track.content_sha256))
            yield Outcome(track.song_id, {"tempo_bpm": 100.0})

    first, away = entries(2)
    changed = replace(first, content_sha256="changed")
    for live in ([first, away], [changed], [changed, away]):
        summary = complete_batch(record, "audio_features", BATCH, lambda live=live: live, version, compute)
        assert summary.n_live == summary.table.num_rows == len(live)
    assert made == [(track.song_id, track.content_sha256) for track in (first, away, changed)]


def test_a_run_that_ends_leaves_the_journal_of_one_that_goes_on(record: Record) -> None:
    """The other is killed afterwards: what it finished is not computed again."""
    other = """
        path = t.Record(Path(sys.argv[1])).path("clap_embeddings", t.BATCH)
        with t.Journal(path.parent, t.arrow_schema("clap_embeddings")).writer() as writer:
            writer.append({"song_id": "t0005", "content_sha256": "0-5",
                           "settings_version": t.SETTINGS.version, "embedding": [0.0] * 511 + [1.0]})
            print("written", flush=True)
            sys.stdin.read()
    """
    with child_at_work(other, record.root) as process:
        assert process.stdout.readline() == "written\n"
        batch_of(record, 3, [])
        process.kill()
    computed: list[str] = []
    batch_of(record, 6, computed)
    assert sorted(computed) == ["t0003", "t0004"]
    assert not list(record.root.rglob("journal-*")), "journals of ended runs pile up"


def test_a_file_system_without_links_is_not_taken_for_a_read_only_one(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    rebuild(record)
    for function in ("link", "symlink"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, refuse)
            with pytest.raises(StorageError, match="hard and symbolic links") as raised:
                publish(record, tmp_path)
        assert "read-write" not in str(raised.value)
    assert not list(tmp_path.glob(".tmp-*"))
    publish(record, tmp_path)
    assert tracks_read(tmp_path) == 4


def test_nothing_pending_is_known_without_reading_until_something_changes(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = batch_of(record, 5, [])
    version = ("settings_version", SETTINGS.version)

    def ask(wanted: list[Entry], by: tuple[str, str] = version) -> list[Entry]:
        return pending(record, "clap_embeddings", BATCH, wanted, by)

    assert ask(tracks) == []
    with monkeypatch.context() as patch:
        patch.setattr(Record, "read", lambda *_: pytest.fail("the file was read"))
        assert ask(tracks) == []
    other = replace(tracks[0], content_sha256="other bytes")
    assert ask([other, *tracks[1:]]) == [other]
    assert len(ask(tracks, ("settings_version", "another"))) == 5
    rows = record.read("clap_embeddings", BATCH).to_pylist()
    spoilt = [{**rows[0], "embedding": [float("nan")] * 512}, *rows[1:]]
    record.write(
        "clap_embeddings", pa.Table.from_pylist(spoilt, schema=arrow_schema("clap_embeddings")), batch=BATCH
    )
    assert ask(tracks) == [tracks[0]]


def test_a_batchs_tracks_are_read_from_its_part_of_a_long_ledger(tmp_path: Path) -> None:
    warehouse = Warehouse(data_dir=str(tmp_path))
    ledger = [
        Entry(f"t{number:05d}", "x.wav", "live", batch=f"batch-{number // 250:06d}")
        for number in range(40_000)
    ]
    ledger[300] = replace(ledger[300], status="removed")
    ledger.append(ledger.pop(301))  # as one that comes back
    names = [entry.song_id for entry in ledger]
    warehouse.record.write("track_manifest", ledger_to_table(ledger, pa.table({"song_id": names})))
    for key in ("batch-000000", "batch-000001", "batch-000159"):
        found = warehouse.live_tracks_of(key)
        assert found == [entry for entry in ledger if entry.batch == key and entry.status == "live"]
    with pytest.raises(UnknownBatchError):
        warehouse.live_tracks_of("batch-000160")
    stored = pq.read_metadata(warehouse.record.path("track_manifest"))
    assert stored.num_row_groups > 2, "the whole ledger would be read for each batch"
