"""The record and its doors: schemas enforced, whole switches, readers never in the way."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Workplace

from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.library import Entry
from audio_assets.warehouse import (
    PUBLISHED,
    PublishError,
    Record,
    RecordError,
    arrow_schema,
    connect_live,
    ledger_to_table,
    publish,
    write_catalog,
)


def outcome_rows(name: str, ids: list[str], **columns: object) -> pa.Table:
    rows = [{"song_id": i, "content_sha256": f"hash of {i}", **columns} for i in ids]
    return pa.Table.from_pylist(rows, schema=arrow_schema(name))


def fill(record: Record, ids: list[str], **features: object) -> None:
    """A record of one batch, with features and embeddings."""
    entries = [Entry(i, f"{i}.wav", "live", batch="batch-000001", content_sha256=f"hash of {i}") for i in ids]
    carried = pa.table({"song_id": ids, "audio_path": ids, "genre": ["rock"] * len(ids)})
    record.write("track_manifest", ledger_to_table(entries, carried))
    rows = outcome_rows("audio_features", ids, extractor_version=EXTRACTOR_VERSION, **features)
    record.write("audio_features", rows, batch="batch-000001")
    vectors = outcome_rows("clap_embeddings", ids, settings_version="v", embedding=[0.6, 0.8] + [0.0] * 510)
    record.write("clap_embeddings", vectors, batch="batch-000001")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "record")


def test_rows_of_another_schema_are_refused(record: Record) -> None:
    good = outcome_rows("retrieval_index", ["a"])
    doubles = good.set_column(2, "embedding", pa.array([[1.0] * 512], pa.list_(pa.float64(), 512)))
    for bad in (doubles, good.drop_columns(["embedding"]), good.append_column("extra", pa.array([1]))):
        with pytest.raises(RecordError, match="schema"):
            record.write("retrieval_index", bad)
    assert record.read("retrieval_index") is None


def test_a_batch_takes_less_room_than_its_vectors(record: Record) -> None:
    vectors = np.random.default_rng(0).standard_normal((256, 512)).astype(np.float32)
    table = outcome_rows("clap_embeddings", [f"track {number}" for number in range(len(vectors))])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 512)
    place = table.schema.get_field_index("embedding")
    path = record.write(
        "clap_embeddings", table.set_column(place, table.schema.field(place), column), batch="b-1"
    )
    assert path.stat().st_size < 0.9 * vectors.nbytes
    assert record.read("clap_embeddings", "b-1")["embedding"].combine_chunks().equals(column)


@pytest.mark.parametrize("key", ["", "a...b", "a,b", "a/b", "../x", "A", "batch_1", "batch-", "b\n"])
def test_a_partition_key_that_is_no_folder_name_is_refused(record: Record, key: str) -> None:
    with pytest.raises(RecordError, match="partition key"):
        record.path("audio_features", key)


def test_a_failed_write_leaves_the_former_file(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(record, ["a"])
    before = record.read("audio_features", "batch-000001")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(OSError, match="No space"):
        fill(record, ["a", "b"])
    monkeypatch.undo()
    assert record.read("audio_features", "batch-000001").equals(before)
    assert not list(record.root.rglob(".tmp-*"))


def test_every_table_can_be_queried_before_anything_is_computed(record: Record) -> None:
    with connect_live(record) as live:
        for name in PUBLISHED:
            assert live.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,), name


def test_published_tables_have_types_keys_and_comments_with_units(record: Record, tmp_path: Path) -> None:
    fill(record, ["a", "b"], tempo_bpm=120.0)
    published = publish(record, tmp_path)
    with duckdb.connect(str(published.path), read_only=True) as reader:
        columns = {
            (row[0], row[1]): (row[2], row[3])
            for row in reader.execute(
                "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal"
            ).fetchall()
        }
        keys = reader.execute(
            "SELECT table_name FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        ).fetchall()
    assert columns["clap_embeddings", "embedding"][0] == "FLOAT[512]"
    assert columns["audio_features", "tempo_bpm"][0] == "DOUBLE"
    assert "BPM" in columns["audio_features", "tempo_bpm"][1]
    assert "[s]" in columns["manifest", "duration_s"][1]
    assert "A" in columns["audio_features", "hpcp_0"][1]
    undocumented = [
        key for key, (_, comment) in columns.items() if comment is None and key != ("manifest", "genre")
    ]
    assert not undocumented
    assert {row[0] for row in keys} == set(PUBLISHED) - {"retrieval_index_info"}
    assert len([key for key in columns if key[0] == "audio_features"]) == 57


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_never_published(record: Record, tmp_path: Path, bad: float) -> None:
    fill(record, ["a", "b"], tempo_bpm=120.0)
    publish(record, tmp_path)
    generation = (tmp_path / "warehouse.duckdb").readlink()
    fill(record, ["a", "b"], tempo_bpm=bad)
    with pytest.raises(PublishError, match="audio_features"):
        publish(record, tmp_path)
    assert (tmp_path / "warehouse.duckdb").readlink() == generation
    assert not list(tmp_path.glob(".tmp-*"))


def test_readers_hold_their_generation_while_others_are_published(record: Record, tmp_path: Path) -> None:
    """One reader keeps the file open throughout; others open it anew all the time; none ever fails."""
    fill(record, ["t0"])
    publish(record, tmp_path)
    link = tmp_path / "warehouse.duckdb"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys\n"
            f"c = duckdb.connect({str(link)!r}, read_only=True)\n"
            "print('open', flush=True)\n"
            "sys.stdin.readline()\n"
            "print(c.execute('SELECT count(*) FROM manifest').fetchone()[0])\n",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    seen: list[tuple[int, int]] = []
    stop = threading.Event()

    def read_again_and_again() -> None:
        while not stop.is_set():
            with duckdb.connect(str(link.resolve()), read_only=True) as reader:
                row = reader.execute(
                    "SELECT (SELECT count(*) FROM manifest), (SELECT count(*) FROM audio_features)"
                ).fetchone()
                assert row is not None
                seen.append(row)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_again_and_again)
        for size in range(2, 8):
            fill(record, [f"t{i}" for i in range(size)])
            publish(record, tmp_path)
        published = len(seen)
        while len(seen) < published + 2 and not reading.done():
            time.sleep(0.01)
        stop.set()
        reading.result()
    assert all(manifest == features for manifest, features in seen), "a reader saw half a generation"
    assert seen[-1] == (7, 7)
    assert holder.communicate("\n", timeout=30)[0] == "1\n"
    assert len(list(tmp_path.glob("warehouse-*.duckdb"))) == 3


def test_the_catalog_answers_as_the_published_file_does(record: Record, tmp_path: Path) -> None:
    """In a folder whose name is awkward in SQL and in globs."""
    folder = tmp_path / "it's [my] *data*"
    record = Record(folder / "record")
    fill(record, ["a", "b"], tempo_bpm=99.5)
    published = publish(record, folder)
    write_catalog(record, folder / "catalog.sql")
    with duckdb.connect() as live, duckdb.connect(str(published.path), read_only=True) as reader:
        live.execute((folder / "catalog.sql").read_text(encoding="utf-8"))
        for query in (
            "SELECT song_id, tempo_bpm FROM audio_features ORDER BY 1",
            "SELECT * FROM batches",
            "SELECT song_id, genre FROM manifest ORDER BY 1",
            "SELECT song_id, typeof(embedding) FROM clap_embeddings ORDER BY 1",
        ):
            assert live.execute(query).fetchall() == reader.execute(query).fetchall()


def test_key_names_go_round_the_circle(record: Record) -> None:
    names = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
    angles = 2 * np.pi * np.arange(12) / 12
    with connect_live(record) as live:
        for name, angle in zip(names, angles, strict=True):
            row = live.execute(
                "SELECT key_name(?, ?, 0), key_name(?, ?, 1)", [np.cos(angle), np.sin(angle)] * 2
            ).fetchone()
            assert row == (f"{name} major", f"{name} minor")
        assert live.execute("SELECT key_name(NULL, NULL, NULL)").fetchone() == (None,)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tracks: dict[str, Path], clap_checkpoint: Path
) -> Workplace:
    folder = tmp_path_factory.mktemp("finished")
    workplace = Workplace(folder / "music", folder / "data", str(clap_checkpoint))
    for path in list(tracks.values())[:4]:
        workplace.add(path)
    (workplace.library / "broken.mp3").write_text("no music")
    assert not workplace.run().failed_jobs
    return workplace


def test_similar_tracks_finds_the_track_itself_first_at_one(finished: Workplace) -> None:
    (song_id,) = finished.sql("SELECT max(song_id) FROM retrieval_index")[0]
    rows = finished.sql(f"SELECT * FROM similar_tracks('{song_id}', 3)")
    assert rows[0] == (song_id, pytest.approx(1, abs=1e-6))
    assert len(rows) == 3
    assert rows[0][1] > rows[1][1] >= rows[2][1]


def test_batches_from_before_a_setting_was_kept_are_read(record: Record) -> None:
    fill(record, ["a"])
    record.initialise()
    for path in (record.root / "clap_embeddings").rglob("*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["config_sha256"]), path)
    with connect_live(record) as connection:
        assert connection.execute("SELECT song_id, config_sha256 FROM clap_embeddings").fetchall() == [
            ("a", None)
        ]
