"""The batch partition: an immutable set of tracks, numbered by the ledger."""

import re
import warnings
from collections.abc import Iterable

import dagster as dg
from pydantic import Field

# Partitioned checks are a preview in Dagster; its version is pinned for that reason.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

# Assets over it have no backfill policy, so that a backfill makes a run of each batch. Under a policy, be it
# of one partition a run, runs get a range of partitions, and the results of their checks lose the batch.
track_batches = dg.DynamicPartitionsDefinition(name="track_batch")


class BatchConfig(dg.Config):
    """How to bring a batch up to date."""

    anew: list[str] = Field(
        default=[], description="Ids of tracks to analyse again although their results stand."
    )


_KEY = re.compile(r"batch-[0-9]{6,}")
_MOST_KEYS_A_CALL = 10_000


class PartitionKeyError(Exception):
    """A partition key that no batch of ours can have; Dagster itself would accept it."""


def require_batch_key(key: str) -> None:
    """Raise PartitionKeyError for a key that is not of the form ``batch-000123``."""
    if not _KEY.fullmatch(key):
        raise PartitionKeyError(f"{key!r} is not a batch key (batch- and six digits)")


def register_batches(instance: dg.DagsterInstance, keys: Iterable[str]) -> list[str]:
    """Make batches known to Dagster.

    Parameters
    ----------
    instance : DagsterInstance
        Where partitions are kept.
    keys : iterable of str
        Every batch of the ledger; those that are known already are left alone.

    Returns
    -------
    list of str
        The keys that were new.

    Raises
    ------
    PartitionKeyError
        A key is not of the form ``batch-000123``.
    """
    wanted = list(keys)
    for key in wanted:
        require_batch_key(key)
    assert track_batches.name is not None
    known = set(instance.get_dynamic_partitions(track_batches.name))
    new = [key for key in wanted if key not in known]
    for start in range(0, len(new), _MOST_KEYS_A_CALL):
        instance.add_dynamic_partitions(track_batches.name, new[start : start + _MOST_KEYS_A_CALL])
    return new
