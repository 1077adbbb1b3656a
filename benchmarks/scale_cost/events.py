"""Dagster's record of batches that were computed and checked, without a run for each.

A run of Dagster's costs seconds; 40,000 of them would take days. The same rows are written to the same
tables by the storage's own statements, many in one transaction. Left out are the events of runs and steps.
"""

import time
import uuid
from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.events import (
    AssetMaterializationPlannedData,
    DagsterEvent,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._serdes import serialize_value

from audio_assets.checks import CHECKS

_CHUNK = 2_000
#: About what the tables and pictures of a real materialisation take.
_METADATA = {"preview": dg.MetadataValue.md("| song_id | tempo_bpm |\n" * 80)}


def blocking_checks(table: str) -> list[dg.AssetCheckKey]:
    """Checks that the gate asks for."""
    specs = (spec for check in CHECKS for spec in check.check_specs)
    return [spec.key for spec in specs if spec.blocking and spec.asset_key.to_user_string() == table]


def record_results(instance: dg.DagsterInstance, tables: Sequence[str], batches: Sequence[str]) -> int:
    """Record for each batch of each table that it was to be made, was made, and passed its blocking checks.

    Returns
    -------
    int
        Rows written.
    """
    storage, n_rows = instance.event_log_storage, 0
    events = [event for batch in batches for event in _events(tables, batch)]
    for start in range(0, len(events), _CHUNK):
        chunk = events[start : start + _CHUNK]
        with storage.index_connection() as connection:  # commits at its end
            ids = [connection.execute(storage.prepare_insert_event(e)).inserted_primary_key[0] for e in chunk]
            checks = [
                _check_row(storage, event, number)
                for event, number in zip(chunk, ids, strict=True)
                if isinstance(event.dagster_event.event_specific_data, dg.AssetCheckEvaluation)
            ]
            if checks:
                connection.execute(AssetCheckExecutionsTable.insert(), checks)
            made = {e.dagster_event.asset_key: (e, i) for e, i in zip(chunk, ids, strict=True) if _is_made(e)}
            for event, number in made.values():
                storage._store_asset_event(connection, event, number)
        n_rows += len(chunk) + len(checks)
    return n_rows


def _events(tables: Sequence[str], batch: str) -> Iterator[EventLogEntry]:
    run_id = str(uuid.uuid4())
    for table in tables:
        key = dg.AssetKey(table)
        planned = AssetMaterializationPlannedData(key, partition=batch)
        yield _entry("ASSET_MATERIALIZATION_PLANNED", planned, run_id)
        made = dg.AssetMaterialization(key, partition=batch, metadata=_METADATA)
        yield _entry("ASSET_MATERIALIZATION", StepMaterializationData(made), run_id)
        for check in blocking_checks(table):
            evaluation = dg.AssetCheckEvaluation(
                asset_key=key, check_name=check.name, passed=True, metadata={}, partition=batch
            )
            yield _entry("ASSET_CHECK_EVALUATION", evaluation, run_id)


def _entry(kind: str, data: object, run_id: str) -> EventLogEntry:
    event = DagsterEvent(kind, job_name="analyse_batch", event_specific_data=data, step_key="step")
    return EventLogEntry(
        error_info=None,
        level="debug",
        user_message="",
        run_id=run_id,
        timestamp=time.time(),
        step_key="step",
        job_name="analyse_batch",
        dagster_event=event,
    )


def _is_made(event: EventLogEntry) -> bool:
    return event.dagster_event.event_type_value == "ASSET_MATERIALIZATION"


def _check_row(storage: object, event: EventLogEntry, number: int) -> dict[str, object]:
    evaluation = event.dagster_event.event_specific_data
    return {
        "asset_key": evaluation.asset_key.to_string(),
        "check_name": evaluation.check_name,
        "partition": evaluation.partition,
        "run_id": event.run_id,
        "execution_status": "SUCCEEDED",
        "evaluation_event": serialize_value(event),
        "evaluation_event_timestamp": storage._event_insert_timestamp(event),
        "evaluation_event_storage_id": number,
    }
