"""Whether the tables over the whole collection are made of the record as it is now.

Each of these assets notes in its materialisation the fingerprint of what it was made of, taken before it
began. It is current while that is still the fingerprint, and the run that made it succeeded without a
failed check. So a change during a build, a crash after it or a failed check all make it due again,
whoever launched it: the command line, a sensor or a person in the UI.
"""

import hashlib
import json
from typing import Any

import dagster as dg

from audio_assets.warehouse import Record, fingerprint

#: Metadata by which it is known later what an asset was made of.
BUILT_OF = "built_of"
LIBRARY_SIGNATURE = "library_signature"

NORMALIZED = "clap_embeddings_normalized"
INDEX = "retrieval_index"
TABLES = "warehouse_tables"
EXPORTS = "notebook_exports"

#: Assets that are right or wrong together.
_LIBRARY = ("track_manifest",)
RETRIEVAL = (NORMALIZED, INDEX)
_PUBLICATION = (TABLES, EXPORTS)
_GROUPS = {asset: group for group in (_LIBRARY, RETRIEVAL, _PUBLICATION) for asset in group}

_INPUTS = {
    NORMALIZED: ("track_manifest", "clap_embeddings"),
    INDEX: (NORMALIZED,),
    TABLES: ("*",),
    EXPORTS: ("*",),
}


def inputs_digest(record: Record, asset: str) -> str:
    """Digest of which files an asset would be made of now; to be taken before it reads anything."""
    facts = json.dumps(fingerprint(record.root, _INPUTS[asset]), sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def due(instance: dg.DagsterInstance, record: Record) -> list[str]:
    """Assets that have to be built anew, in order; what is made of such a one is due as well.

    Parameters
    ----------
    instance : DagsterInstance
        Knows what each was last made of.
    record : Record
        What they would be made of now.

    Returns
    -------
    list of str
        Some of ``clap_embeddings_normalized, retrieval_index, warehouse_tables, notebook_exports``.
    """
    if record.batches("clap_embeddings") and not all(is_current(instance, record, a) for a in RETRIEVAL):
        return [*RETRIEVAL, *_PUBLICATION]
    return [asset for asset in _PUBLICATION if not is_current(instance, record, asset)]


def is_current(instance: dg.DagsterInstance, record: Record, asset: str) -> bool:
    """Whether an asset was last made, without a failed check, of these very inputs."""
    return approved_metadata(instance, asset, BUILT_OF) == inputs_digest(record, asset)


def approved_metadata(instance: dg.DagsterInstance, asset: str, name: str) -> str | None:
    """Text that the last materialisation noted; None where a check of it failed or was never made."""
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    if event is None or event.asset_materialization is None:
        return None
    if not _approved(instance, event.run_id, _GROUPS[asset]):
        return None
    entry = event.asset_materialization.metadata.get(name)
    return None if entry is None else str(entry.value)


def _approved(instance: dg.DagsterInstance, run_id: str, assets: tuple[str, ...]) -> bool:
    keys = {dg.AssetKey(asset) for asset in assets}
    planned = {
        (data.asset_key, data.check_name)
        for data in _of_run(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    }
    good = {
        (data.asset_key, data.check_name)
        for data in _of_run(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if data.passed or data.severity == dg.AssetCheckSeverity.WARN
    }
    return {check for check in planned if check[0] in keys} <= good


def _of_run(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> list[Any]:
    """Give the data of all events of one kind in a run."""
    records = instance.get_records_for_run(run_id, of_type=kind).records
    events = (record.event_log_entry.dagster_event for record in records)
    return [event.event_specific_data for event in events if event is not None]
