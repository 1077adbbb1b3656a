"""What there is to compute: the one answer that the command line, the sensors and the schedule all act on.

What belongs here: which tracks of which batches have no row that is still true. What does not: running
them, and whether tables over the whole collection are up to date (``builds``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from audio_assets.embeddings import ModelError
from audio_assets.features import EXTRACTOR_VERSION
from audio_assets.library import Entry
from audio_assets.warehouse import pending
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
    versions, model_problem = _versions(clap_model)
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
    return Outstanding(found, model_problem)


def _versions(clap_model: ClapModel) -> tuple[dict[str, str], str | None]:
    """Version that each table is to have, and why that of the embeddings is not known, if so."""
    versions = {FEATURES: EXTRACTOR_VERSION}
    try:
        return {**versions, EMBEDDINGS: clap_model.settings().version}, None
    except ModelError as error:
        return versions, str(error)


def _digest(version: str, tracks: Sequence[Entry]) -> str:
    text = "\0".join([version, *(f"{track.song_id} {track.content_sha256}" for track in tracks)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
