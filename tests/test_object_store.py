"""The record on an object store: machines that share it, a store that fails, and what stays confined.

A machine is a data folder, in processes of its own where they matter. The store is a real one
(`object_store`).
"""

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import obstore
import pyarrow as pa
import pytest
import soundfile
from mirrors import BATCH, EMBEDDINGS, FEATURES, PATIENCE_S, analyse, entries, machine
from object_store import BUCKET, OPEN_BUCKET, SECRET, ObjectStoreServer, Way, needs_object_store
from test_storage import SETTINGS

from audio_assets.audio import AudioLimits
from audio_assets.builds import due, inputs_digest
from audio_assets.corpus import index_corpus, load_index, normalise_corpus
from audio_assets.definitions import build_defs
from audio_assets.environment import SettingError
from audio_assets.gate import written
from audio_assets.intake import take_in
from audio_assets.library import Entry
from audio_assets.outstanding import outstanding
from audio_assets.pipeline import dagster_home
from audio_assets.warehouse import (
    Outcome,
    Record,
    StoreError,
    complete_batch,
    fingerprint,
    ledger_to_table,
)
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.progress import Progress
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse, warehouse_from_environment

pytestmark = needs_object_store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStoreServer]:
    """The store, and an environment that leads to it."""
    started = ObjectStoreServer(tmp_path_factory.mktemp("store"))
    try:
        started.start()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in started.variables().items():
                patch.setenv(name, value)
            yield started
    finally:
        started.stop()


@pytest.fixture
def url(server: ObjectStoreServer, request: pytest.FixtureRequest) -> str:
    """An empty prefix of the test's own."""
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}"


def keys(server: ObjectStoreServer, url: str) -> list[str]:
    client = server.client(url.removeprefix(f"s3://{BUCKET}/"))
    return sorted(found["path"] for chunk in obstore.list(client) for found in chunk)


def write_ledger(record: Record, tracks: Sequence[Entry]) -> None:
    ids = [track.song_id for track in tracks]
    table = ledger_to_table(tracks, pa.table({"song_id": ids, "audio_path": ids}))
    record.pull()
    record.write("track_manifest", table, onto=record.edition("track_manifest"))


def write_embeddings(record: Record, tracks: Sequence[Entry]) -> None:
    vectors = np.random.default_rng(len(tracks)).standard_normal((len(tracks), 512)) + 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    by_id = {t.song_id: vector.astype(np.float32) for t, vector in zip(tracks, vectors, strict=True)}

    def compute(todo: Sequence[Entry]) -> Iterator[Outcome]:
        return (Outcome(track.song_id, {"embedding": by_id[track.song_id]}) for track in todo)

    complete_batch(record, EMBEDDINGS, BATCH, lambda: tracks, ("settings_version", SETTINGS.version), compute)


def analysed(record: Record) -> list[str]:
    record.pull()
    table = record.read(FEATURES, BATCH)
    return [] if table is None else sorted(table["song_id"].to_pylist())


def names(tracks: Sequence[Entry]) -> list[str]:
    return sorted(track.song_id for track in tracks)


def child(module: str, code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a process of its own, in which a module of the tests is ``t``."""
    prelude = f"import sys, {module} as t\nfrom pathlib import Path\n"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def make_library(folder: Path, n: int) -> Path:
    """A folder with n tracks of five seconds, made where missing: pulsing chords of different pitch."""
    folder.mkdir(exist_ok=True)
    time_s = np.arange(5 * 22_050) / 22_050
    for i in range(n):
        chord = sum(np.sin(2 * np.pi * 220 * ratio * (1 + i / 12) * time_s) for ratio in (1, 1.25, 1.5))
        hiss = np.random.default_rng(i).standard_normal(len(time_s))
        pulsing = 0.2 * chord * np.exp(-8 * (time_s % (0.5 + 0.05 * i))) + 0.01 * hiss
        if not (folder / f"{i}.wav").exists():
            soundfile.write(folder / f"{i}.wav", pulsing, 22_050)
    return folder


# --- machines that share a library ------------------------------------------------------------------


class Machine:
    """A process with a data folder of its own, which runs jobs when told to."""

    def __init__(self, data: Path, *arguments: object) -> None:
        self.data = data
        self._process = child("test_object_store", "t.work(*map(str, sys.argv[1:]))", data, *arguments)

    def begin(self, do: str, **what: object) -> None:
        assert self._process.stdin
        print(json.dumps({"do": do, **what}), file=self._process.stdin, flush=True)

    def end(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def ask(self, do: str, **what: object) -> Any:
        self.begin(do, **what)
        return self.end()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def work(data: str, home: str, library: str, model: str, url: str) -> None:
    """What a `Machine` runs: a job or a question for each line."""
    resources = {
        "library": TrackLibrary(root=library, batch_size=2),
        "warehouse": Warehouse(data_dir=data, record_store=url),
        "analysis_pool": AnalysisPool(workers=1, track_timeout_s=60),
        "clap_model": ClapModel(model_id=model, offline=True),
        "progress": Progress(),
    }
    warehouse, clap_model = resources["warehouse"], resources["clap_model"]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries and workers print is no answer
    with dg.DagsterInstance.from_config(home) as instance:
        definitions = build_defs(**resources)

        def run(job: str, batch: str | None = None, assets: Sequence[str] = ()) -> list[int]:
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance,
                partition_key=batch,
                asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
            )
            made = [event.materialization.metadata for event in result.get_asset_materialization_events()]
            return [metadata["tracks_computed"].value for metadata in made if "tracks_computed" in metadata]

        def state() -> dict[str, object]:
            warehouse.refresh()
            waiting = outstanding(instance, warehouse, clap_model).work
            digests = [inputs_digest(warehouse.record), written(warehouse.record, EMBEDDINGS, "batch-000001")]
            return {"due": due(instance, warehouse), "waiting": len(waiting), "digests": digests}

        for line in sys.stdin:
            asked = json.loads(line)
            answer = {"run": run, "state": state}[asked.pop("do")](**asked)
            print(json.dumps(answer), file=answers, flush=True)


def test_machines_share_a_library_and_nothing_is_computed_twice(
    tmp_path: Path, clap_checkpoint: Path, server: ObjectStoreServer, url: str
) -> None:
    library = make_library(tmp_path / "music", 3)
    home = dagster_home(tmp_path / "shared")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.all_asset_keys()  # makes the database, which two processes cannot do at once
    one, other = (Machine(tmp_path / name, home, library, clap_checkpoint, url) for name in ("a", "b"))
    try:
        one.ask("run", job="refresh_manifest")
        one.begin("run", job="analyse_batch", batch="batch-000001")
        other.begin("run", job="analyse_batch", batch="batch-000002")
        assert (one.end(), other.end()) == ([2, 2], [1, 1])

        assert other.ask("run", job="rebuild_tables") == []
        at_rest = other.ask("state")
        assert (at_rest["due"], at_rest["waiting"]) == ([], 0)
        assert one.ask("state") == {**at_rest, "due": ["warehouse_tables", "notebook_exports"]}, (
            "what people read on another machine is that machine's own"
        )
        one.ask("run", job="rebuild_tables", assets=["warehouse_tables", "notebook_exports"])
        assert one.ask("state") == other.ask("state") == at_rest

        assert other.ask("run", job="analyse_batch", batch="batch-000001") == [0, 0]
        other.ask("run", job="rebuild_tables")
    finally:
        one.close()
        other.close()
    fresh = Machine(tmp_path / "c", home, library, clap_checkpoint, url)
    try:
        assert fresh.ask("state")["waiting"] == 0
        fresh.ask("run", job="rebuild_tables", assets=["warehouse_tables", "notebook_exports"])
        assert fresh.ask("state")["due"] == []
    finally:
        fresh.close()
    assert published(tmp_path / "c") == published(tmp_path / "b") == (3, 3, 3)
    seen = (path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(SECRET.encode() in content for content in seen), "a secret was written down"


def published(data: Path) -> tuple[object, ...]:
    import duckdb

    with duckdb.connect(str((data / "warehouse.duckdb").resolve()), read_only=True) as reader:
        tables = (FEATURES, EMBEDDINGS, "retrieval_index")
        return tuple(reader.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in tables)


def test_a_file_is_the_same_on_all_machines_and_without_a_store_is_known_as_before(
    tmp_path: Path, url: str
) -> None:
    one, other = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    tracks = entries(4)
    write_ledger(one, tracks)
    analyse(one, lambda: tracks)
    other.pull()
    other.initialise()
    assert inputs_digest(one) == inputs_digest(other)
    assert written(one, FEATURES, BATCH) == written(other, FEATURES, BATCH)
    analyse(other, lambda: tracks)
    assert inputs_digest(one) == inputs_digest(other), "the same rows are another file"
    write_ledger(other, tracks[:3])
    assert inputs_digest(one) != inputs_digest(other)
    one.pull()
    assert inputs_digest(one) == inputs_digest(other)
    alone = Record(one.root)
    assert alone.fingerprint() == fingerprint(one.root)
    status = alone.path(FEATURES, BATCH).stat()
    assert alone.identity(FEATURES, BATCH) == [status.st_mtime_ns, status.st_size, status.st_ino]


# --- several writers --------------------------------------------------------------------------------


def test_what_another_machine_writes_just_before_is_merged(tmp_path: Path, url: str) -> None:
    """One has read the batch, and is about to write it, when another writes all of it."""
    one, other = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    tracks = entries(12)
    looks = []

    def live_tracks() -> list[Entry]:
        looks.append(len(tracks))
        if len(looks) == 2:  # the first was before anything was computed
            analyse(other, lambda: tracks)
        return tracks

    summary = analyse(one, live_tracks, mine=lambda track: track.song_id < "t0006")
    assert summary.n_live == 12
    assert analysed(other) == analysed(one) == names(tracks)
    assert len(looks) == 3, "it was not written once more"


def test_machines_that_write_one_batch_at_once_lose_no_row(tmp_path: Path, url: str) -> None:
    machines = [
        child(
            "mirrors",
            f"""
            tracks = t.entries(24)
            record = t.machine(Path(sys.argv[1]), {url!r})
            record.pull()
            print("ready", flush=True)
            sys.stdin.readline()
            t.analyse(record, lambda: tracks, mine=lambda track: int(track.song_id[1:]) % 3 == {n})
            """,
            tmp_path / str(n),
        )
        for n in range(3)
    ]
    for process in machines:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in machines:
        process.communicate("go\n", timeout=120)
    assert [process.returncode for process in machines] == [0, 0, 0]
    assert analysed(machine(tmp_path / "d", url)) == names(entries(24))


def test_a_look_at_the_library_that_was_overtaken_looks_again(tmp_path: Path, url: str) -> None:
    one, other = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    library = make_library(tmp_path / "music", 1)

    def look(record: Record, between: Callable[[], None] = lambda: None) -> None:
        def measure_all(measure: Any, sightings: Any) -> Iterator[Any]:
            yield from [(sighting, measure(sighting)) for sighting in sightings]
            between()

        take_in(record, library, None, AudioLimits(), measure_all, batch_size=1)

    def meanwhile() -> None:
        if len(list(library.iterdir())) == 1:
            make_library(library, 2)
            look(other)

    look(one, meanwhile)
    for record in (one, other):
        record.pull()
        table = record.read("track_manifest", columns=["batch"])
        assert table is not None
        assert sorted(table["batch"].to_pylist()) == ["batch-000001", "batch-000002"]


@pytest.mark.parametrize("unheeded", ["if-match", "if-none-match"])
def test_a_store_that_would_let_machines_overwrite_each_other_is_refused(
    tmp_path: Path, server: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch, unheeded: str
) -> None:
    def heedless(piece: bytes) -> bytes:
        return piece.replace(f"{unheeded}:".encode(), f"x-{unheeded[2:]}:".encode())

    with way_to(server, heedless) as way:
        for name, value in {**server.variables(way.port), "AWS_SKIP_SIGNATURE": "true"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StoreError, match="does not heed If-Match"):
            machine(tmp_path / "a", f"s3://{OPEN_BUCKET}/{unheeded}", patience_s=5.0).pull()
    client = server.client(unheeded, OPEN_BUCKET)
    assert not [found for chunk in obstore.list(client) for found in chunk if "record" in found["path"]]


def test_credentials_that_are_wrong_are_said_at_once(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with pytest.raises(StoreError, match=r"SignatureDoesNotMatch.*credentials are right") as refused:
        machine(tmp_path, url, patience_s=3_600.0).pull()
    assert "hunter2" not in str(refused.value)


# --- what fails half-way ----------------------------------------------------------------------------


def test_a_writer_killed_while_it_uploads_leaves_the_former_file_and_loses_no_track(
    tmp_path: Path, server: ObjectStoreServer, url: str
) -> None:
    folder, reader = tmp_path / "a", machine(tmp_path / "b", url)
    analyse(machine(folder, url), lambda: entries(40))
    before, reached = analysed(reader), threading.Event()

    def hold(piece: bytes) -> bytes | None:
        if reached.is_set():
            return None
        if piece.startswith(b"PUT ") and b"part.parquet" in piece:
            reached.set()
            return piece[: len(piece) // 2 + 1]
        return piece

    with way_to(server, hold) as way:
        killed = child(
            "mirrors",
            "t.analyse(t.machine(Path(sys.argv[1]), sys.argv[2]), lambda: t.entries(60))",
            *(folder, url),
            **server.variables(way.port),
        )
        assert reached.wait(PATIENCE_S)
        killed.kill()
        killed.wait()
    assert analysed(reader) == before == names(entries(40))
    summary = analyse(machine(folder, url), lambda: entries(60))
    assert (summary.n_live, summary.n_computed) == (60, 0)
    assert analysed(reader) == names(entries(60))


@contextmanager
def way_to(server: ObjectStoreServer, change: Callable[[bytes], bytes | None]) -> Iterator[Way]:
    way = Way(server.port, change)
    try:
        yield way
    finally:
        way.close()


def test_a_store_that_goes_away_in_mid_batch_and_returns(
    tmp_path: Path, server: ObjectStoreServer, url: str
) -> None:
    tracks, reader = entries(6), machine(tmp_path / "b", url)
    record = machine(tmp_path / "a", url)
    write_ledger(record, tracks)
    reader.pull()

    def stop_at_three(n: int) -> None:
        if n == 2:
            server.stop()

    impatient = machine(tmp_path / "a", url, patience_s=1.0)
    with pytest.raises(StoreError, match=r"cannot be (read|written to).*finished tracks are kept"):
        analyse(impatient, lambda: tracks, after_each=stop_at_three)
    with pytest.raises(StoreError) as refused:  # and not what was there before
        Warehouse(data_dir=str(tmp_path / "b"), record_store=url, store_patience_s=1.0).refresh()
    assert SECRET not in str(refused.value)

    starting = threading.Thread(target=server.start)
    starting.start()
    summary = analyse(record, lambda: tracks)  # waits until it answers
    starting.join()
    assert (summary.n_live, summary.n_computed) == (6, 0)
    assert analysed(reader) == names(tracks)


# --- the corpus -------------------------------------------------------------------------------------


def test_a_version_of_the_index_is_in_force_everywhere_once_it_is_whole(
    tmp_path: Path, server: ObjectStoreServer, url: str
) -> None:
    one, other = machine(tmp_path / "a", url), machine(tmp_path / "b", url)

    def rebuild(n: int) -> None:
        write_ledger(one, entries(n))
        write_embeddings(one, entries(n))
        normalise_corpus(one, SETTINGS)
        other.pull()
        assert indexed(other) == (n - 1 if n > 16 else 0), "a normalised table is in force without its index"
        index_corpus(one, SETTINGS, None, approximate_from=19)
        other.pull()
        assert indexed(other) == indexed(one) == n

    for n in (16, 17, 18, 19):
        rebuild(n)
    assert other.approximate_path("000004").exists()
    versions = {key.split("/")[1] for key in keys(server, url) if key.startswith("corpus/")}
    assert versions == {"000003", "000004"}, "superseded versions stay in the store"
    index_corpus(one, SETTINGS, None, approximate_from=100)
    other.pull()
    assert not other.approximate_path("000004").exists()
    assert other.new_version() == "000005"
    assert one.new_version() == "000006", "a number was given twice"
    fresh = machine(tmp_path / "c", url)
    fresh.pull()
    assert indexed(fresh) == 19
    assert {path.name for path in (fresh.root / "corpus").iterdir()} == {"000004"}


def indexed(record: Record) -> int:
    loaded = load_index(record)
    return len(loaded[0].track_ids) if loaded else 0


# --- which record it is, and what may get out of it -------------------------------------------------


def test_a_folder_from_before_goes_into_an_empty_store_and_into_no_other(tmp_path: Path, url: str) -> None:
    local = Record(tmp_path / "a" / "record")
    tracks = entries(4)
    write_ledger(local, tracks)
    analyse(local, lambda: tracks)
    write_embeddings(local, tracks)
    normalise_corpus(local, SETTINGS)
    index_corpus(local, SETTINGS, None)
    moved, fresh = machine(tmp_path / "a", url), machine(tmp_path / "b", url)
    moved.pull()
    fresh.pull()
    assert analysed(fresh) == names(tracks)
    assert indexed(fresh) == 4
    assert inputs_digest(moved) == inputs_digest(fresh)
    analyse(Record(tmp_path / "c" / "record"), lambda: tracks)
    with pytest.raises(StoreError, match="holds a record of its own"):
        machine(tmp_path / "c", url).pull()


def test_a_store_that_was_emptied_takes_nothing_with_it(
    tmp_path: Path, server: ObjectStoreServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = machine(tmp_path / "a", url)
    analyse(record, lambda: entries(3))
    client = server.client(url.removeprefix(f"s3://{BUCKET}/"))
    obstore.delete(client, keys(server, url))
    with pytest.raises(StoreError, match="is not the record that"):
        record.pull()
    with pytest.raises(StoreError, match="is not the record that"):
        analyse(record, lambda: entries(4))
    assert record.path(FEATURES, BATCH).exists()
    with pytest.raises(SettingError, match="mirrors a record store"):
        warehouse_from_environment(tmp_path / "a")
    (tmp_path / "a" / "mirror.sqlite").unlink()
    assert analysed(record) == names(entries(3)), "it cannot be put there again"


def test_a_damaged_mirror_mends_itself(tmp_path: Path, url: str) -> None:
    record = machine(tmp_path / "a", url)
    analyse(record, lambda: entries(3))
    path = record.path(FEATURES, BATCH)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    record.pull(BATCH)
    assert path.read_bytes() == whole
    path.unlink()
    record.pull()
    assert path.read_bytes() == whole


def test_nothing_but_the_record_comes_out_of_a_store_and_only_from_below_the_prefix(
    tmp_path: Path, server: ObjectStoreServer, url: str
) -> None:
    analyse(machine(tmp_path / "a", url), lambda: entries(2))
    client = server.client(url.removeprefix(f"s3://{BUCKET}/"))
    foreign = [
        "evil.py",
        "audio_features/batch=batch-000001/journal-1.arrows",
        "audio_features/batch=UPPER/part.parquet",
        "audio_features/batch=a/b/part.parquet",
        "audio_features/schema.parquet",
        "corpus/1/vectors.npy",
        "corpus/000001/map/embedding_projection.parquet",
        "track_manifest/part.parquet.pkl",
    ]
    for key in foreign:
        obstore.put(client, key, b"os.system('id')")
    neighbour = server.client(url.removeprefix(f"s3://{BUCKET}/") + "-2")
    obstore.put(neighbour, f"{FEATURES}/batch=batch-000009/part.parquet", b"of somebody else")
    fresh = machine(tmp_path / "b", url)
    fresh.pull()
    found = [str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*") if path.is_file()]
    below_record = [path for path in found if path.startswith("record/")]
    assert below_record == [f"record/{FEATURES}/batch={BATCH}/part.parquet"]
    assert {path.split(".")[0] for path in set(found) - set(below_record)} <= {"mirror", ""}


@pytest.mark.parametrize("address", ["s3://key:hunter2@bucket/x", "http://bucket/x", "s3://b/x?y=hunter2"])
def test_an_address_that_is_none_is_refused_and_not_repeated(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIO_ASSETS_RECORD_STORE", address)
    with pytest.raises(StoreError, match="s3://bucket/prefix") as refused:
        warehouse_from_environment(tmp_path)
    assert "hunter2" not in str(refused.value)
