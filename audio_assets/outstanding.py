"""What there is to compute: the one answer that the command line, the sensors and the schedule all act on.

What belongs here: which tracks of which batches have no row that is still true, and which batches have to be
checked again. What does not: running them, and whether tables over the whole collection are up to date
(``builds``).
"""

import hashlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from audio_assets.builds import EMBEDDINGS, FEATURES
from audio_assets.embeddings import ModelError
from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.gate import BATCHED, Part, unproven
from audio_assets.library import Entry
from audio_assets.warehouse import pending
from resources.clap_model import ClapModel
from resources.warehouse import Warehouse

FEATURE_VERSION = ("extractor_version", EXTRACTOR_VERSION)
_VERSION_COLUMNS = {FEATURES: FEATURE_VERSION[0], EMBEDDINGS: "settings_version"}
_TO_BE_CHECKED = "to be checked"


@dataclass(frozen=True)
class Work:
    """Tracks of one batch of one table that have no row that is still true.

    No tracks: all rows are true, and the batch has to be checked again. ``inputs`` is the same as long as the
    same bytes of the same tracks wait; ``version`` is the one that they wait for, None if that is not known.
    """

    table: str
    batch: str
    tracks: list[Entry]
    version: str | None
    inputs: str


@dataclass(frozen=True)
class Outstanding:
    """All work there is, by batch; ``model_problem`` says why the embeddings could not be looked at."""

    work: list[Work]
    model_problem: str | None = None


def outstanding(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    clap_model: ClapModel,
    busy: Container[Part] = (),
) -> Outstanding:
    """Find what is missing, stale by its bytes or version, worth another try, or has to be checked again.

    Parameters
    ----------
    instance : DagsterInstance
        Knows the results of checks.
    warehouse : Warehouse
        The record and its ledger.
    clap_model : ClapModel
        Decides which embeddings are still true.
    busy : container of (str, str)
        Tables and batches whose checks are still to come.

    Returns
    -------
    Outstanding
        Without a usable model, the features only.
    """
    versions: dict[str, str | None] = {FEATURES: EXTRACTOR_VERSION}
    try:
        versions[EMBEDDINGS] = clap_model.settings().version
    except ModelError as error:
        return Outstanding(_work(instance, warehouse, versions, busy), str(error))
    return Outstanding(_work(instance, warehouse, versions, busy))


def outstanding_as_recorded(
    instance: dg.DagsterInstance, warehouse: Warehouse, busy: Container[Part] = ()
) -> list[Work]:
    """Find the same without knowing the model in force: embeddings are to be as the newest ones there."""
    versions = {FEATURES: EXTRACTOR_VERSION, EMBEDDINGS: _newest_settings(warehouse)}
    return _work(instance, warehouse, versions, busy)


def results(
    warehouse: Warehouse, wanted: Callable[[Entry], bool], *, only_failed: bool = False
) -> dict[tuple[str, str], list[str]]:
    """Tracks that have a result, to be made anew.

    Parameters
    ----------
    warehouse : Warehouse
        The record and its ledger.
    wanted : callable
        Which live tracks.
    only_failed : bool
        Recorded failures only.

    Returns
    -------
    dict of (str, str) to list of str
        Ids by table and batch.
    """
    live = {track.song_id for track in warehouse.live_tracks() if wanted(track)}
    found = {}
    for table in BATCHED:
        for batch in warehouse.record.batches(table):
            rows = warehouse.record.read(table, batch)
            assert rows is not None
            columns = (rows[name].to_pylist() for name in ("song_id", "failure_code"))
            ids = [i for i, code in zip(*columns, strict=True) if i in live and (code or not only_failed)]
            if ids:
                found[table, batch] = ids
    return found


def never_analysed(warehouse: Warehouse, work: Work) -> bool:
    """Whether a track of the work has no row at all yet, be it of older bytes or another version."""
    table = warehouse.record.read(work.table, work.batch)
    known = set() if table is None else set(table["song_id"].to_pylist())
    return any(track.song_id not in known for track in work.tracks)


def _work(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    versions: Mapping[str, str | None],
    busy: Container[Part],
) -> list[Work]:
    by_batch: dict[str, list[Entry]] = {}
    for track in warehouse.live_tracks():
        assert track.batch is not None
        by_batch.setdefault(track.batch, []).append(track)
    found = {}
    for batch, tracks in by_batch.items():
        for table, version in versions.items():
            wanted = (_VERSION_COLUMNS[table], version or "")
            if todo := pending(warehouse.record, table, batch, tracks, wanted):
                found[table, batch] = Work(table, batch, todo, version, _digest(todo))
    for table, key in unproven(instance, warehouse.record, without=busy):
        if key is not None and table in versions:
            found.setdefault((table, key), Work(table, key, [], versions[table], _TO_BE_CHECKED))
    return sorted(found.values(), key=lambda work: work.batch)


def _newest_settings(warehouse: Warehouse) -> str | None:
    record = warehouse.record
    # The others keep what they were made with, for tracks that may come back.
    with_tracks = {track.batch for track in warehouse.live_tracks()}
    batches = [batch for batch in record.batches(EMBEDDINGS) if batch in with_tracks]
    latest_first = sorted(batches, key=lambda b: record.path(EMBEDDINGS, b).stat().st_mtime, reverse=True)
    for batch in latest_first:
        table = record.read(EMBEDDINGS, batch)
        assert table is not None
        if table.num_rows:  # else none of its tracks was analysed yet
            return str(table.sort_by("computed_at")["settings_version"][-1])
    return None


def _digest(tracks: Sequence[Entry]) -> str:
    text = "\0".join(f"{track.song_id} {track.content_sha256}" for track in tracks)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
