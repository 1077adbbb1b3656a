"""What has passed its blocking checks: nothing is built on anything else, whoever launches the build.

A blocking check ends the run that made a table or a batch of one, yet the rows are on record by then. So
every asset asks here before it reads what it is made of. Batches that have not passed are outstanding: they
are checked again.
"""

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from audio_assets.builds import EMBEDDINGS, FEATURES, is_good
from audio_assets.warehouse import Record

if TYPE_CHECKING:
    from dagster._core.storage.asset_check_execution_record import (
        AssetCheckExecutionRecord,
        AssetCheckPartitionInfo,
    )

#: Metadata of a materialisation: which file it wrote.
WRITTEN = "written"

BATCHED = (FEATURES, EMBEDDINGS)
_SHOWN = 5

_KNOWN: dict[tuple[dg.AssetCheckKey, str | None, str, int], bool] = {}

#: A table and a batch of it; no batch for a table that has none.
Part = tuple[str, str | None]


class UnprovenError(Exception):
    """What a table would be made of has not passed its blocking checks; nothing was built."""


def require_proven(instance: dg.DagsterInstance, record: Record, tables: Sequence[str]) -> None:
    """Refuse to build on what failed a blocking check, or has not passed it yet.

    Parameters
    ----------
    instance : DagsterInstance
        Knows the results of checks.
    record : Record
        What there is.
    tables : sequence of str
        What is to be built on.

    Raises
    ------
    UnprovenError
        Names what has not passed.
    """
    if parts := unproven(instance, record, tables):
        raise UnprovenError(f"nothing was built: {describe(parts)}")


def unproven(
    instance: dg.DagsterInstance,
    record: Record,
    tables: Sequence[str] = BATCHED,
    *,
    without: Container[Part] = (),
) -> set[Part]:
    """Tables, or batches of them, that are on record and have not passed their blocking checks.

    Parts that need not be told of may be named; each one whose run has not come to its checks costs queries.

    A run that ended before it wrote anything leaves what was found before in force. A batch that no check
    ever looked at, as after the loss of Dagster's run records, has not passed.
    """
    # Not public, and the only way to ask for a check of every partition at once.
    infos = instance.event_log_storage.get_asset_check_partition_info(_blocking_checks(tables))
    batches: set[Part] = {(table, b) for table in tables if table in BATCHED for b in record.batches(table)}
    unchecked = batches - set(map(_part, infos))
    # Of the record and not of Dagster, where somebody may have typed a partition that can be no batch.
    others = [table for table in tables if table not in BATCHED and record.path(table).exists()]
    present = batches | {(table, None) for table in others}
    asked = [info for info in infos if _part(info) in present and _part(info) not in without]
    return unchecked | {_part(info) for info in asked if not _has_passed(instance, record, info)}


def written(record: Record, table: str, batch: str | None = None) -> dict[str, str]:
    """Metadata by which it is known later that a file is the one that was checked."""
    return {WRITTEN: "-".join(map(str, record.identity(table, batch)))}


def describe(parts: Iterable[Part]) -> str:
    """One sentence for a person."""
    names = sorted(f"{table} of {batch}" if batch else table for table, batch in parts)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"a blocking check failed, or has not been made, for {', '.join(names[:_SHOWN])}{more}; "
        "the asset's page says which tracks"
    )


def _blocking_checks(tables: Sequence[str]) -> list[dg.AssetCheckKey]:
    from audio_assets.checks import CHECKS  # they are of the assets, and the assets ask here

    specs = (spec for check in CHECKS for spec in check.check_specs)
    return [spec.key for spec in specs if spec.blocking and spec.asset_key.to_user_string() in tables]


def _part(info: "AssetCheckPartitionInfo") -> Part:
    return info.check_key.asset_key.to_user_string(), info.partition_key


def _has_passed(instance: dg.DagsterInstance, record: Record, info: "AssetCheckPartitionInfo") -> bool:
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status

    if (info.latest_materialization_storage_id or 0) > info.latest_check_event_storage_id:
        return False  # made after the last look at it
    if info.latest_execution_status == Status.SUCCEEDED:
        return True
    if info.latest_execution_status == Status.FAILED:
        return _was_good(instance, info)
    # The run has not come to the check. Unless it wrote its file all the same, what was found before holds.
    return _was_good(instance, info) and _is_as_made(instance, record, _part(info))


def _was_good(instance: dg.DagsterInstance, info: "AssetCheckPartitionInfo") -> bool:
    # What was found does not change, and to ask costs 5 ms where there are 10,000 batches.
    key = (info.check_key, info.partition_key, info.latest_planned_run_id, info.latest_check_event_storage_id)
    if key not in _KNOWN:
        _KNOWN[key] = is_good(_last_evaluation(instance, info))
    return _KNOWN[key]


def _last_evaluation(
    instance: dg.DagsterInstance, info: "AssetCheckPartitionInfo"
) -> "AssetCheckExecutionRecord | None":
    from dagster._core.event_api import PartitionKeyFilter
    from dagster._core.storage.asset_check_execution_record import (
        COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as EVALUATED,
    )

    found = instance.event_log_storage.get_asset_check_execution_history(
        info.check_key, limit=1, status=EVALUATED, partition_filter=PartitionKeyFilter(key=info.partition_key)
    )
    return found[0] if found else None


def _is_as_made(instance: dg.DagsterInstance, record: Record, part: Part) -> bool:
    """Whether a file is the one that its last materialisation wrote."""
    table, batch = part
    wanted = dg.AssetRecordsFilter(dg.AssetKey(table), asset_partitions=[batch] if batch else None)
    made = instance.fetch_materializations(wanted, limit=1).records
    event = made[0].asset_materialization if made else None
    noted = event.metadata.get(WRITTEN) if event else None
    return noted is not None and noted.value == written(record, table, batch)[WRITTEN]
