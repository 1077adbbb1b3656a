"""The data folder: the record that assets write, and the doors that people read through."""

import os
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from audio_assets.environment import PREFIX, SettingError, read_number
from audio_assets.library import Entry
from audio_assets.retrieval import APPROXIMATE_FROM
from audio_assets.warehouse import (
    EXPORTS_LINK,
    FEWEST_KEPT,
    KEPT_GENERATIONS,
    MIRROR_NAME,
    Mirror,
    ObjectStore,
    Publication,
    Record,
    Sweep,
    arrow_schema,
    ledger_from_table,
    publish,
    sweep,
    sweep_strays,
    write_catalog,
)

_PATIENCE_S = 240.0
_PARTITION_TAG = "dagster/partition"


class UnknownBatchError(Exception):
    """A partition that no track is in, such as one added by hand in the UI."""


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Everything that is kept, below one folder: record, published tables, exports."""

    data_dir: str = Field(description="Folder of the record, the published warehouse.duckdb and the exports.")
    kept_generations: int = Field(
        default=KEPT_GENERATIONS, ge=FEWEST_KEPT, description="Published generations to keep for a rollback."
    )
    approximate_from: int = Field(
        default=APPROXIMATE_FROM,
        ge=1,
        description="Tracks from which on an approximate index is made as well.",
    )

    record_store: str = Field(
        default="",
        description="s3://bucket/prefix that has the record, which the data folder mirrors; empty for none.",
    )
    store_patience_s: float = Field(
        default=_PATIENCE_S, ge=0, description="How long a run waits for a record store to answer [s]."
    )

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Take in what other machines have written, before a run, a sensor or a schedule reads it."""
        run = context.run
        self.refresh(run.tags.get(_PARTITION_TAG) if run else None, patiently=run is not None)

    def refresh(self, batch: str | None = None, *, patiently: bool = False) -> None:
        """Take in what other machines have written; nothing to do where the record is in no store.

        Parameters
        ----------
        batch : str, optional
            All that is going to be read, with the ledger.
        patiently : bool
            Wait for a store that does not answer.

        Raises
        ------
        StoreError
            It does not answer, or is that of another record.
        """
        self.record.pull(batch, patiently=patiently)

    @property
    def path(self) -> Path:
        """The data folder."""
        return Path(self.data_dir).expanduser().resolve()

    @property
    def record(self) -> Record:
        """The Parquet record."""
        root = self.path / "record"
        store = self.record_store
        return Record(root, Mirror(root, store, self.store_patience_s) if store else None)

    @property
    def exports_path(self) -> Path:
        """Folder of the files for notebooks."""
        return self.path / EXPORTS_LINK

    def prepare(self) -> None:
        """Make the empty tables and ``catalog.sql``, and sweep up after killed writers."""
        self.path.mkdir(parents=True, exist_ok=True)
        sweep_strays(self.path)
        write_catalog(self.record, self.path / "catalog.sql")

    def publish(self) -> Publication:
        """Build a generation and give it to readers, unless a rollback holds them."""
        return publish(self.record, self.path, self.kept_generations)

    def sweep(self) -> Sweep:
        """Remove what nobody needs any more."""
        return sweep(self.record, self.path, self.kept_generations)

    def ledger(self) -> list[Entry]:
        """Every track the library ever had, in manifest order."""
        return ledger_from_table(self._ledger_table())

    def live_tracks(self) -> list[Entry]:
        """Tracks that are to be analysed, in manifest order."""
        return ledger_from_table(self._ledger_table().filter(pc.field("status") == "live"))

    def live_tracks_of(self, batch: str) -> list[Entry]:
        """Tracks of one batch that are to be analysed, in manifest order.

        Raises
        ------
        UnknownBatchError
            The ledger has no such batch.
        """
        # Asked several times for each batch; of the whole ledger, the more batches the longer.
        table = self.record.read_where("track_manifest", "batch", batch)
        tracks = [] if table is None else ledger_from_table(table)
        if not tracks:
            raise UnknownBatchError(
                f"no track is in batch {batch!r}; batches are made by track_manifest only"
            )
        return [entry for entry in tracks if entry.status == "live"]

    def _ledger_table(self) -> pa.Table:
        table = self.record.read("track_manifest")
        return arrow_schema("track_manifest").empty_table() if table is None else table


def warehouse_from_environment(data_dir: Path) -> Warehouse:
    """Open a data folder with what the environment says about it.

    Raises
    ------
    SettingError
        It says something that cannot be.
    """
    kept = read_number(os.environ, "KEPT_GENERATIONS", KEPT_GENERATIONS, FEWEST_KEPT)
    approximate_from = read_number(os.environ, "ANN_FROM", APPROXIMATE_FROM, 1)
    return Warehouse(
        data_dir=str(data_dir),
        kept_generations=int(kept),
        approximate_from=int(approximate_from),
        record_store=_record_store(data_dir),
        store_patience_s=read_number(os.environ, "STORE_PATIENCE_S", _PATIENCE_S, 0),
    )


def _record_store(data_dir: Path) -> str:
    store = os.environ.get(f"{PREFIX}RECORD_STORE", "").strip()
    if store:
        ObjectStore(store, _PATIENCE_S)  # refuses what is no address
    elif (data_dir.expanduser() / MIRROR_NAME).exists():
        raise SettingError(
            f"{data_dir} mirrors a record store, but {PREFIX}RECORD_STORE is not set: what is written here "
            f"would never get there. Set it, or remove {MIRROR_NAME} to make this a record of its own"
        )
    return store
