"""What failed a blocking check of its batch: nothing is built on it, and it is tried again.

A blocking check ends the run of its batch, yet the batch's rows are in the record by then. So whoever
builds tables over all batches asks here first.
"""

from typing import TYPE_CHECKING

import dagster as dg

from audio_assets.checks import CHECKS
from audio_assets.outstanding import EMBEDDINGS, FEATURES, Outstanding, Work

if TYPE_CHECKING:
    from dagster._core.storage.asset_check_execution_record import AssetCheckPartitionInfo

_BATCHED = {dg.AssetKey(FEATURES), dg.AssetKey(EMBEDDINGS)}
_BLOCKING = [
    spec.key for check in CHECKS for spec in check.check_specs if spec.blocking and spec.asset_key in _BATCHED
]


def failing(instance: dg.DagsterInstance) -> set[tuple[str, str]]:
    """Tables and batches that failed a blocking check, or were made and never checked."""
    # Not public, and the only way to ask for a check of every partition at once.
    infos = instance.event_log_storage.get_asset_check_partition_info(_BLOCKING)
    return {
        (info.check_key.asset_key.to_user_string(), info.partition_key)
        for info in infos
        if info.partition_key and _is_failing(instance, info)
    }


def _is_failing(instance: dg.DagsterInstance, info: "AssetCheckPartitionInfo") -> bool:
    from dagster._core.event_api import PartitionKeyFilter
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status

    if info.latest_execution_status != Status.PLANNED:
        return info.latest_execution_status == Status.FAILED
    # The run ended before the check. Either it made the batch, or what was found before it still holds.
    if (info.latest_materialization_storage_id or 0) > info.latest_check_event_storage_id:
        return True
    earlier = instance.event_log_storage.get_asset_check_execution_history(
        info.check_key,
        limit=1,
        status={Status.SUCCEEDED, Status.FAILED},
        partition_filter=PartitionKeyFilter(key=info.partition_key),
    )
    return bool(earlier) and earlier[0].status == Status.FAILED


def with_failing(found: Outstanding, failed: set[tuple[str, str]]) -> Outstanding:
    """Add what failed a check to what is outstanding: where nothing is to compute, it is checked again."""
    known = {(work.table, work.batch) for work in found.work}
    again = [Work(table, batch, [], "a check failed") for table, batch in sorted(failed - known)]
    return Outstanding(sorted([*found.work, *again], key=lambda work: work.batch), found.model_problem)


def describe(failed: set[tuple[str, str]]) -> str:
    """One sentence for a person."""
    shown = ", ".join(f"{table} of {batch}" for table, batch in sorted(failed)[:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    return f"a blocking check failed for {shown}{more}; the asset's page says which tracks"
