"""Run records are swept, and what the UI says of tables and partitions stays true; the commands around it."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from commands import cli
from conftest import Workplace
from test_storage import mount, rebuild, tracks_read

from audio_assets.definitions import build_defs
from audio_assets.maintenance import prune_runs
from audio_assets.pipeline import open_instance
from audio_assets.warehouse import Record, list_generations, publish
from audio_assets.warehouse.files import temporary_path
from resources.warehouse import Warehouse

__all__ = ["mount"]  # a fixture

BATCHES = dg.DynamicPartitionsDefinition(name="batch_of_a_test")
POISON = {"poisoned": False}


@dg.asset(partitions_def=BATCHES)
def made() -> dg.MaterializeResult[None]:
    if POISON["poisoned"]:
        raise ValueError("poisoned")
    return dg.MaterializeResult()


@dg.asset_check(asset=made, partitions_def=BATCHES)
def good(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset(deps=[made])
def built() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(tmp_path / "data") as instance:
        instance.add_dynamic_partitions("batch_of_a_test", ["x", "y", "z"])
        yield instance


def run(
    instance: dg.DagsterInstance, asset: dg.AssetsDefinition, key: str | None, poisoned: bool = False
) -> str:
    POISON["poisoned"] = poisoned
    job = dg.define_asset_job("job", [asset], executor_def=dg.in_process_executor)
    defs = dg.Definitions(assets=[made, built], asset_checks=[good], jobs=[job])
    resolved = defs.resolve_job_def("job")
    return resolved.execute_in_process(instance=instance, partition_key=key, raise_on_error=False).run_id


def state(instance: dg.DagsterInstance) -> dict[str, object]:
    """What the UI and the automation go by."""
    return {
        "partitions": instance.get_status_by_partition(made.key, ["x", "y", "z"], BATCHES),
        "materialised": instance.get_materialized_partitions(made.key),
        "built": getattr(instance.get_latest_materialization_event(built.key), "run_id", None),
        "made": getattr(instance.get_latest_materialization_event(made.key), "run_id", None),
    }


def test_superseded_runs_go_and_no_partition_changes_its_state(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    for _ in range(2):
        run(instance, made, "x")
        run(instance, built, None)
    run(instance, made, "y")
    run(instance, made, "y", poisoned=True)
    run(instance, made, "z", poisoned=True)
    run(instance, made, "z", poisoned=True)
    before = state(instance)
    assert before["materialised"] == {"x", "y"}
    assert prune_runs(instance, kept_days=1) == [], "runs of today are kept"
    removed = prune_runs(instance, kept_days=0)
    assert len(removed) == 3, "the first of x, of the table, and of z"
    assert len(instance.get_runs()) == 5
    # A new process knows nothing but what is stored, and looks at every event again.
    instance.wipe_asset_cached_status([made.key])
    assert state(instance) == before
    shards = {path.stem for path in (tmp_path / "data").rglob("*.db")}
    assert not shards & set(removed), "their files are still there"
    assert prune_runs(instance, kept_days=0) == []


def test_the_job_sweeps_folder_and_runs(workplace: Workplace) -> None:
    record = Record(workplace.data / "record")
    for n in (3, 4, 5):
        rebuild(record, n)
        publish(record, workplace.data, kept=9)
    stray = temporary_path(workplace.data)
    stray.write_bytes(b"half")
    old = stray.with_name(f".tmp-0123abcd-17-4711-{stray.name.rpartition('-')[2]}")  # another machine's
    stray.rename(old)
    os.utime(old, (0, 0))
    theirs = workplace.data / "demo" / ".tmp-take 1.wav"
    theirs.parent.mkdir()
    theirs.write_bytes(b"a track of a library below the data folder")
    os.utime(theirs, (0, 0))
    warehouse = Warehouse(data_dir=str(workplace.data), kept_generations=2)
    with open_instance(workplace.data) as instance:
        job = build_defs(warehouse=warehouse).resolve_job_def("maintenance")
        assert job.execute_in_process(instance=instance).success
    assert not old.exists()
    assert theirs.exists()
    assert len(list_generations(workplace.data)) == 2
    assert tracks_read(workplace.data) == 5


def test_rollback_from_the_command_line(tmp_path: Path) -> None:
    record = Record(tmp_path / "record")
    for n in (3, 4):
        rebuild(record, n)
        publish(record, tmp_path)
    counted = ("sql", "SELECT count(*) AS n FROM retrieval_index", "--format", "json", "--data", tmp_path)
    assert cli("rollback", "--data", tmp_path).returncode == 0
    assert json.loads(cli(*counted).stdout) == [{"n": 3}]
    listed = cli("versions", "--data", tmp_path).stdout
    assert "held here by a rollback" in listed
    assert "rollback --release" in cli("status", "--data", tmp_path).stdout
    nonsense = cli("rollback", "nonsense", "--data", tmp_path)
    assert nonsense.returncode == 1
    assert "kept are" in nonsense.stderr
    assert cli("rollback", "--release", "--data", tmp_path).returncode == 0
    assert json.loads(cli(*counted).stdout) == [{"n": 4}]
    assert cli("maintain", "--data", tmp_path).returncode == 0


def test_a_full_disk_ends_a_run_in_a_sentence_and_the_next_one_goes_on(
    workplace: Workplace, tracks: dict[str, Path], mount: Callable[[str], Path]
) -> None:
    """First not even a run can be recorded; then one can, and the tables do not fit."""
    for path in list(tracks.values())[:2]:
        workplace.add(path)
    data = mount("size=700k")
    run = ("run", "--library", workplace.library, "--data", data, "--clap-model", workplace.model)
    for size in ("700k", "1800k"):
        mount(f"size={size}")
        full = cli(*run)
        assert full.returncode == 1, full.stdout + full.stderr
        # The latter where not even SQLite's file for readers can grow.
        assert "No space left on device" in full.stderr or "If the disk is full" in full.stderr
        assert "Traceback" not in full.stderr
        assert not (data / "warehouse.duckdb").exists()
    mount("size=64m")
    done = cli(*run)
    assert done.returncode == 0, done.stdout + done.stderr
    with duckdb.connect(str((data / "warehouse.duckdb").resolve()), read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM retrieval_index").fetchone() == (2,)
