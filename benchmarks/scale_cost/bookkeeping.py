"""Partitions in Dagster's storage, the ledger, and the count of attempts."""

from pathlib import Path

import dagster as dg

from audio_assets.attempts import Attempts
from audio_assets.builds import FEATURES
from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
from audio_assets.gate import BATCHED, unproven
from audio_assets.outstanding import Work
from audio_assets.partitions import register_batches, track_batches
from resources.clap_model import ClapModel
from resources.warehouse import Warehouse
from scale_cost.events import record_results
from scale_cost.meter import Meter

_FEW = 20


def measure_partitions(
    instance: dg.DagsterInstance, warehouse: Warehouse, batches: list[str], meter: Meter
) -> None:
    """Measure what Dagster's storage is asked, with all batches computed and checked.

    The files of the batches are empty: the gate asks only which there are.
    """
    for table in BATCHED:
        for batch in batches:
            path = warehouse.record.path(table, batch)
            path.parent.mkdir(parents=True)
            path.touch()
    with meter.step("add all partition keys"):
        register_batches(instance, batches)
    with meter.step("add them again, none being new"):
        register_batches(instance, batches)
    with meter.step("one materialisation, as Dagster records it", times=_FEW):
        for batch in batches[:_FEW]:
            instance.report_runless_asset_event(dg.AssetMaterialization(FEATURES, partition=batch))
    with meter.step("record what all batches came to (in bulk)") as found:
        found["rows"] = record_results(instance, BATCHED, batches)
    for attempt in ("first look", "again"):
        with meter.step(f"status of all partitions of a table, {attempt}"):
            status = instance.get_status_by_partition(dg.AssetKey(FEATURES), batches, track_batches)
    assert status is not None
    assert {value.value for value in status.values()} == {"MATERIALIZED"}
    with meter.step("which batches have passed their checks"):
        assert not unproven(instance, warehouse.record)


def measure_ledger(warehouse: Warehouse, batches: list[str], meter: Meter) -> None:
    """Measure reading the ledger whole, and the part of it that a run of one batch reads."""
    with meter.step("ledger: all live tracks"):
        warehouse.live_tracks()
    some = batches[:: max(1, len(batches) // _FEW)]
    with meter.step("ledger: live tracks of one batch", times=len(some)):
        for batch in some:
            warehouse.live_tracks_of(batch)


def measure_attempts(folder: Path, batches: list[str], meter: Meter) -> None:
    """Measure noting and counting attempts at all batches."""
    attempts = Attempts(folder, most=3)
    work = [Work(table, batch, [], "1", "inputs") for table in BATCHED for batch in batches]
    with meter.step("note an attempt at all batches"):
        attempts.note(work, "first")
    with meter.step("tell what was tried too often"):
        attempts.split(work, "second")


def demo_model(folder: Path) -> ClapModel:
    """Give the tiny model, so that the model's part in what is outstanding costs nothing."""
    target = folder / "model"
    return ClapModel(model_id=str(target if target.exists() else copy_demo_checkpoint(target)), offline=True)
