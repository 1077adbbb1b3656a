"""What there is to compute: the one answer that the command line, the sensors and the schedule all act on.

What belongs here: which tracks of which batches have no row that is still true. What does not: running
them, and whether tables over the whole collection are up to date (``builds``).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audio_assets.embeddings import ModelError
from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.library import Entry
from audio_assets.warehouse import drop_rows, pending
from resources.clap_model import ClapModel
from resources.warehouse import Warehouse

FEATURES = "audio_features"
EMBEDDINGS = "clap_embeddings"
FEATURE_VERSION = ("extractor_version", EXTRACTOR_VERSION)
_VERSION_COLUMNS = {FEATURES: FEATURE_VERSION[0], EMBEDDINGS: "settings_version"}


@dataclass(frozen=True)
class Work:
    """Tracks of one batch of one table that have no row that is still true.

    ``inputs`` is the same as long as the same bytes of the same tracks wait for the same version.
    """

    table: str
    batch: str
    tracks: list[Entry]
    inputs: str


@dataclass(frozen=True)
class Outstanding:
    """All work there is; ``model_problem`` says why the embeddings could not be looked at."""

    work: list[Work]
    model_problem: str | None = None

    @property
    def batches(self) -> list[str]:
        """Batches with work of any kind, in order."""
        return sorted({work.batch for work in self.work})


def outstanding(warehouse: Warehouse, clap_model: ClapModel) -> Outstanding:
    """Find what is missing, stale by its bytes or version, or worth another try.

    Parameters
    ----------
    warehouse : Warehouse
        The record and its ledger.
    clap_model : ClapModel
        Decides which embeddings are still true.

    Returns
    -------
    Outstanding
        Sorted by batch; without a usable model, the features only.
    """
    versions = {FEATURES: EXTRACTOR_VERSION}
    try:
        versions[EMBEDDINGS] = clap_model.settings().version
    except ModelError as error:
        return Outstanding(_work(warehouse, versions), str(error))
    return Outstanding(_work(warehouse, versions))


def outstanding_as_recorded(warehouse: Warehouse) -> Outstanding:
    """Find the same without knowing the model in force: embeddings are to be as the newest ones there."""
    versions = {FEATURES: EXTRACTOR_VERSION, EMBEDDINGS: _newest_settings(warehouse) or ""}
    return Outstanding(_work(warehouse, versions))


def analyse_again(warehouse: Warehouse, wanted: Callable[[Entry], bool], *, only_failed: bool = False) -> int:
    """Forget results, so that they are outstanding again.

    Parameters
    ----------
    warehouse : Warehouse
        Read and written.
    wanted : callable
        Which live tracks.
    only_failed : bool
        Forget recorded failures only.

    Returns
    -------
    int
        Rows that were forgotten.
    """
    tracks = [track for track in warehouse.live_tracks() if wanted(track)]
    ids = {track.song_id for track in tracks}

    def unwanted(song_id: str, code: str | None) -> bool:
        return song_id in ids and (code is not None or not only_failed)

    batches = sorted({track.batch for track in tracks if track.batch})
    return sum(
        drop_rows(warehouse.record, table, batch, unwanted)
        for batch in batches
        for table in (FEATURES, EMBEDDINGS)
    )


def never_analysed(warehouse: Warehouse, work: Work) -> bool:
    """Whether a track of the work has no row at all yet, be it of older bytes or another version."""
    table = warehouse.record.read(work.table, work.batch)
    known = set() if table is None else set(table["song_id"].to_pylist())
    return any(track.song_id not in known for track in work.tracks)


def _work(warehouse: Warehouse, versions: dict[str, str]) -> list[Work]:
    by_batch: dict[str, list[Entry]] = {}
    for track in warehouse.live_tracks():
        assert track.batch is not None
        by_batch.setdefault(track.batch, []).append(track)
    found = []
    for batch, tracks in sorted(by_batch.items()):
        for table, version in versions.items():
            wanted = (_VERSION_COLUMNS[table], version)
            todo = pending(warehouse.record, table, batch, tracks, wanted)
            if todo:
                found.append(Work(table, batch, todo, _digest(version, todo)))
    return found


def _newest_settings(warehouse: Warehouse) -> str | None:
    record = warehouse.record
    batches = record.batches(EMBEDDINGS)
    if not batches:
        return None
    newest = max(batches, key=lambda batch: record.path(EMBEDDINGS, batch).stat().st_mtime)
    table = record.read(EMBEDDINGS, newest)
    assert table is not None
    versions = sorted(
        zip(table["computed_at"].to_pylist(), table["settings_version"].to_pylist(), strict=True)
    )
    return versions[-1][1] if versions else None


def _digest(version: str, tracks: Sequence[Entry]) -> str:
    text = "\0".join([version, *(f"{track.song_id} {track.content_sha256}" for track in tracks)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
