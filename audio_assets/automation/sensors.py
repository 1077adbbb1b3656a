"""The sensors: the library has changed, batches wait to be analysed, tables wait to be rebuilt.

Each compares what is there with what was made of it, and keeps in its cursor only when it last tried. So
nothing is missed because a tick was, or because a run failed.
"""

import json
import time
from typing import Any

import dagster as dg

from audio_assets.attempts import Attempts
from audio_assets.automation.backfills import (
    AUTOMATION_TAG,
    job_runs,
    launch,
    launching,
    plan,
    something_runs,
    unfinished_targets,
)
from audio_assets.automation.jobs import analyse_batch, rebuild_tables, refresh_manifest
from audio_assets.automation.settings import AutomationSettings
from audio_assets.builds import LIBRARY_SIGNATURE, MANIFEST, TABLES, approved_metadata, due, inputs_digest
from audio_assets.gate import describe, unproven
from resources.clap_model import ClapModel
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

_FIRST_PAUSE_S = 300.0
_LONGEST_PAUSE_S = 86_400.0
_PAUSE_FACTOR = 4
_HOUR_S = 3600.0
_ACTS_ON_MANIFEST = "batches_to_analyse"
#: How late a sensor may tick, on a busy machine; one that has not ticked since is not on.
_LATE_TICK_S = 600.0
_BEFORE_WAITING_BATCHES = {"dagster/priority": "1"}

Tick = dg.SensorResult | dg.SkipReason


def library_sensors(settings: AutomationSettings) -> list[dg.SensorDefinition]:
    """Make the sensors.

    Parameters
    ----------
    settings : AutomationSettings
        Intervals, waiting times, attempts.

    Returns
    -------
    list of SensorDefinition
        ``library_changes``, ``batches_to_analyse`` and ``tables_to_rebuild``.
    """
    return [_library_changes(settings), _batches_to_analyse(settings), _tables_to_rebuild(settings)]


def _library_changes(settings: AutomationSettings) -> dg.SensorDefinition:
    @dg.sensor(
        job=refresh_manifest,
        minimum_interval_seconds=settings.interval_s,
        default_status=settings.sensor_status,
        description="Looks at the names, sizes and times of all files, and runs refresh_manifest on changes.",
    )
    def library_changes(context: dg.SensorEvaluationContext, library: TrackLibrary) -> Tick:
        state = _state(context)
        now_s = time.time()
        listing = library.listing(settings.settle_s)
        seen = f"{listing.n_files} files, {len(listing.settling)} still being copied"
        if listing.signature == approved_metadata(context.instance, MANIFEST, LIBRARY_SIGNATURE):
            return _skip(context, {}, f"Nothing new: {seen}.")
        since_s = state.setdefault("since_s", now_s)
        if listing.settling and abs(now_s - since_s) < settings.gather_s:
            return _skip(context, state, f"Waiting for the rest to arrive: {seen}.")
        if job_runs(context.instance, refresh_manifest.name):
            return _skip(context, state, f"A run is looking at the library: {seen}.")
        if (pause_s := _pause(state, listing.signature, now_s)) > 0:
            return _skip(context, state, f"The last look failed; the next is in {pause_s:.0f} s.")
        config = {"ops": {"track_manifest": {"config": {"settle_s": settings.settle_s}}}}
        request = dg.RunRequest(run_config=config, tags={AUTOMATION_TAG: context.sensor_name})
        return dg.SensorResult([request], cursor=_tried(state, listing.signature, now_s))

    return library_changes


def _batches_to_analyse(settings: AutomationSettings) -> dg.SensorDefinition:
    @dg.sensor(
        name=_ACTS_ON_MANIFEST,
        job=analyse_batch,
        minimum_interval_seconds=settings.interval_s,
        default_status=settings.sensor_status,
        description="Once the manifest has changed, launches one backfill of all batches that wait.",
    )
    def batches_to_analyse(
        context: dg.SensorEvaluationContext, warehouse: Warehouse, clap_model: ClapModel
    ) -> Tick:
        ledger = inputs_digest(warehouse.record, (MANIFEST,))
        state = _state(context)
        # Batches that ran when the manifest changed, and so may have missed the change.
        late = {tuple(target) for target in state["late"]} if state.get("ledger") == ledger else None
        if late == set():
            return dg.SkipReason("The manifest is the one that was acted on; the schedule sees to failures.")
        if job_runs(context.instance, refresh_manifest.name):
            return dg.SkipReason("The manifest is being made.")
        if late and late & unfinished_targets(context.instance):
            return dg.SkipReason("Waiting for batches that ran when the manifest changed.")
        backfill_id = f"late-{ledger}" if late else f"new-{ledger}"
        attempts = Attempts(warehouse.path, settings.most_attempts)
        with launching(warehouse.path):
            planned = plan(context.instance, warehouse, clap_model, attempts, backfill_id)
            launch(
                context.instance,
                [work for work in planned.launched if late is None or (work.table, work.batch) in late],
                attempts,
                backfill_id=backfill_id,
                title="New and changed tracks",
                launched_by=context.sensor_name,
            )
        running = [(work.table, work.batch) for work in planned.running]
        return _skip(context, {"ledger": ledger, "late": [] if late else running}, f"{planned}.")

    return batches_to_analyse


def _tables_to_rebuild(settings: AutomationSettings) -> dg.SensorDefinition:
    @dg.sensor(
        job=rebuild_tables,
        minimum_interval_seconds=settings.interval_s,
        default_status=settings.sensor_status,
        description="Rebuilds index, published tables and exports, once all that was launched has ended; "
        f"or every {settings.publish_every_h:g} h, where that takes longer.",
    )
    def tables_to_rebuild(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> Tick:
        state, now_s = _state(context), time.time()
        # Batches that end one after the other are one update; but a backlog of weeks is not waited for.
        waits_since_s = _last_update_s(context.instance, state, now_s)
        # In this order: what is due now may have been launched when runs are counted.
        about_to = _backfill_is_due(context.instance, warehouse, now_s, settings.interval_s)
        going_on = something_runs(context.instance)
        if (going_on or about_to) and abs(now_s - waits_since_s) < settings.publish_every_h * _HOUR_S:
            reason = "Runs are going on" if going_on else "A backfill is about to be launched"
            return _skip(context, state, f"{reason}; their results are taken together.")
        if job_runs(context.instance, rebuild_tables.name):
            return _skip(context, state, "The tables are being rebuilt.")
        if not warehouse.record.path("track_manifest").exists():
            return dg.SkipReason("There is no manifest yet.")
        assets = due(context.instance, warehouse)
        if not assets:
            return _skip(context, {}, "All tables are made of the record as it is.")
        if parts := unproven(context.instance, warehouse.record):
            return _skip(context, state, f"Held back: {describe(parts)}.")
        # While batches end, what there is to build of is another at each tick.
        wanted = f"since {waits_since_s}" if going_on else inputs_digest(warehouse.record)
        if (pause_s := _pause(state, wanted, now_s)) > 0:
            return _skip(context, state, f"The last attempt failed; the next is in {pause_s:.0f} s.")
        keys = [dg.AssetKey(asset) for asset in assets]
        tags = {AUTOMATION_TAG: context.sensor_name, **_BEFORE_WAITING_BATCHES}
        request = dg.RunRequest(asset_selection=keys, tags=tags)
        return dg.SensorResult([request], cursor=_tried(state, wanted, now_s, since_s=state["since_s"]))

    return tables_to_rebuild


def _backfill_is_due(
    instance: dg.DagsterInstance, warehouse: Warehouse, now_s: float, interval_s: float
) -> bool:
    """Whether the manifest has changed and the sensor that acts on it, if it is on, has still to do so."""
    states = [state for state in instance.all_instigator_state() if state.name == _ACTS_ON_MANIFEST]
    # One for each way that the definitions were ever loaded in; only the present one's still ticks.
    data = [state.sensor_instigator_data for state in states if state.is_running]
    ticking = [
        it for it in data if it and abs(now_s - (it.last_tick_timestamp or 0)) < interval_s + _LATE_TICK_S
    ]
    acted_on = [json.loads(it.cursor) for it in ticking if it.cursor]
    ledger = inputs_digest(warehouse.record, (MANIFEST,))
    return any(state["late"] or state["ledger"] != ledger for state in acted_on)


def _last_update_s(instance: dg.DagsterInstance, state: dict[str, Any], now_s: float) -> float:
    """When the tables were last made, or found to be up to date, or first looked at; noted in the state."""
    made = instance.get_latest_materialization_event(dg.AssetKey(TABLES))
    return max(float(state.setdefault("since_s", now_s)), made.timestamp if made else 0.0)


def _state(context: dg.SensorEvaluationContext) -> dict[str, Any]:
    return dict(json.loads(context.cursor)) if context.cursor else {}


def _skip(context: dg.SensorEvaluationContext, state: dict[str, Any], reason: str) -> dg.SkipReason:
    context.update_cursor(json.dumps(state))
    return dg.SkipReason(reason)


def _pause(state: dict[str, Any], wanted: str, now_s: float) -> float:
    """Seconds until something that was tried, and is still wanted, is tried again."""
    if state.get("tried") != wanted:
        return 0.0
    pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * _PAUSE_FACTOR ** (state["tries"] - 1))
    # A clock that was set back makes the pause start anew, and never longer than it is.
    return pause_s - max(0.0, now_s - state["tried_s"]) if now_s >= state["tried_s"] - pause_s else 0.0


def _tried(state: dict[str, Any], wanted: str, now_s: float, **kept: float) -> str:
    tries = state["tries"] + 1 if state.get("tried") == wanted else 1
    return json.dumps({**kept, "tried": wanted, "tries": tries, "tried_s": now_s})
