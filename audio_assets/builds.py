"""Whether the tables over the whole collection are made of the record as it is now.

Each of these assets notes in its materialisation the digest of what it was made of, taken before it began. It
is current while that is still the digest, what it made is in place, and no check of it has failed since. So a
change during a build, a crash after it or a failed check all make it due again, whoever launched it: the
command line, a sensor or a person in the UI.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from audio_assets.warehouse import EXPORTED_TABLES, LINK_NAME, Record, definitions_digest
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

#: Metadata by which it is known later what an asset was made of.
BUILT_OF = "built_of"
LIBRARY_SIGNATURE = "library_signature"

MANIFEST = "track_manifest"
FEATURES = "audio_features"
EMBEDDINGS = "clap_embeddings"
NORMALIZED = "clap_embeddings_normalized"
INDEX = "retrieval_index"
TABLES = "warehouse_tables"
EXPORTS = "notebook_exports"

#: Assets that are right or wrong together.
RETRIEVAL = (NORMALIZED, INDEX)
PUBLICATION = (TABLES, EXPORTS)
_GROUPS = {asset: group for group in ((MANIFEST,), RETRIEVAL, PUBLICATION) for asset in group}

_ALL = ("*",)
#: Tables of the record that each is made of; publication is made of all.
INPUTS = {NORMALIZED: (MANIFEST, EMBEDDINGS), INDEX: (NORMALIZED,)}


def inputs_digest(record: Record, tables: Sequence[str] = _ALL) -> str:
    """Digest of which files some tables consist of now; to be taken before anything is read.

    For publication also of the statements that define what is published: after an upgrade it is due.
    """
    definitions = definitions_digest() if tuple(tables) == _ALL else None
    facts = json.dumps([record.fingerprint(tables), definitions], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def due(instance: dg.DagsterInstance, warehouse: Warehouse) -> list[str]:
    """Assets that have to be built anew, in order; what is made of such a one is due as well.

    Parameters
    ----------
    instance : DagsterInstance
        Knows what each was last made of.
    warehouse : Warehouse
        What they would be made of now.

    Returns
    -------
    list of str
        Some of ``clap_embeddings_normalized, retrieval_index, warehouse_tables, notebook_exports``.
    """
    if warehouse.record.batches(EMBEDDINGS) and not all(
        _is_current(instance, warehouse, a) for a in RETRIEVAL
    ):
        return [*RETRIEVAL, *PUBLICATION]
    return [asset for asset in PUBLICATION if not _is_current(instance, warehouse, asset)]


def approved_metadata(instance: dg.DagsterInstance, asset: str, name: str) -> str | None:
    """Text that the last materialisation noted; None where a check of it failed or was never made."""
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    if event is None or not _approved(instance, event.run_id, _GROUPS[asset]):
        return None
    return _noted(event, name)


def is_made_of_present(instance: dg.DagsterInstance, record: Record, asset: str) -> bool:
    """Whether what an asset was last made of has not changed since, as far as is known; good or not."""
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    built_of = _noted(event, BUILT_OF) if event else None
    return built_of is None or built_of == _present(record, asset)


def _is_current(instance: dg.DagsterInstance, warehouse: Warehouse, asset: str) -> bool:
    is_of_this = approved_metadata(instance, asset, BUILT_OF) == _present(warehouse.record, asset)
    return is_of_this and all(path.exists() for path in _products(warehouse, asset))


def _noted(event: dg.EventLogEntry, name: str) -> str | None:
    """Text in the metadata of a materialisation."""
    made = event.asset_materialization
    entry = made.metadata.get(name) if made else None
    return None if entry is None else str(entry.value)


def _present(record: Record, asset: str) -> str:
    """Digest of what an asset would be made of now."""
    return inputs_digest(record, INPUTS.get(asset, _ALL))


def _products(warehouse: Warehouse, asset: str) -> list[Path]:
    """Files that somebody may have removed; those of the record count as inputs of what follows."""
    exports = [warehouse.exports_path / name for name in EXPORTED_TABLES]
    return {TABLES: [warehouse.path / LINK_NAME], EXPORTS: exports}.get(asset, [])


def is_good(found: "AssetCheckExecutionRecord | None") -> bool:
    """Whether a check was made, and did not fail or only warned; of warnings Dagster blocks nothing."""
    evaluation = found.evaluation if found else None
    return isinstance(evaluation, dg.AssetCheckEvaluation) and (
        evaluation.passed or evaluation.severity == dg.AssetCheckSeverity.WARN
    )


def _approved(instance: dg.DagsterInstance, run_id: str, assets: Sequence[str]) -> bool:
    """Whether the newest evaluations of all checks that a run was to make of some assets are good."""
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    events = (
        record.event_log_entry.dagster_event
        for record in instance.get_records_for_run(run_id, of_type=kind).records
    )
    planned = [event.asset_check_planned_data.asset_check_key for event in events if event is not None]
    keys = [key for key in planned if key.asset_key.to_user_string() in assets]
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return bool(keys) and all(is_good(newest.get(key)) for key in keys)  # in the UI checks can be left out
