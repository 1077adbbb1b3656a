"""Where results are kept: the Parquet record that is written, the DuckDB doors that are read.

What belongs here: schemas, atomic writes, the journal of a running batch, the views, publishing and the
exported files. What does not: how a number is computed.
"""

from audio_assets.warehouse.batch import (
    BatchSummary,
    Outcome,
    complete_batch,
    measured_rate,
    pending,
)
from audio_assets.warehouse.currency import fingerprint
from audio_assets.warehouse.doors import (
    connect_live,
    connect_published,
    definitions_digest,
    open_live,
    write_catalog,
)
from audio_assets.warehouse.exports import (
    EXPORTED_COLUMNS,
    EXPORTED_TABLES,
    EXPORTS_LINK,
    export_notebook_files,
    exported_blocks,
)
from audio_assets.warehouse.files import DiskFullError, ReadOnlyFolderError, StorageError, atomic_path
from audio_assets.warehouse.generations import (
    FEWEST_KEPT,
    KEPT_GENERATIONS,
    LINK_NAME,
    Generation,
    RollbackError,
    list_generations,
    newest_generation,
    pinned_generation,
    release,
    roll_back,
)
from audio_assets.warehouse.ledger_table import ledger_from_table, ledger_to_table
from audio_assets.warehouse.matrix import MatrixWriter, map_matrix, write_matrix
from audio_assets.warehouse.mirror import MIRROR_NAME, Mirror
from audio_assets.warehouse.owner import is_alive, is_dead, owner_tag
from audio_assets.warehouse.publish import Publication, PublishError, publish
from audio_assets.warehouse.record import Record, RecordError
from audio_assets.warehouse.schemas import (
    FEATURE_COLUMNS,
    MACROS,
    PUBLISHED,
    RECORD,
    VIEWS,
    Column,
    Macro,
    arrow_schema,
)
from audio_assets.warehouse.store import ObjectStore, OvertakenError, StoreError
from audio_assets.warehouse.sweep import Sweep, sweep, sweep_strays

__all__ = [
    "EXPORTED_COLUMNS",
    "EXPORTED_TABLES",
    "EXPORTS_LINK",
    "FEATURE_COLUMNS",
    "FEWEST_KEPT",
    "KEPT_GENERATIONS",
    "LINK_NAME",
    "MACROS",
    "MIRROR_NAME",
    "PUBLISHED",
    "RECORD",
    "VIEWS",
    "BatchSummary",
    "Column",
    "DiskFullError",
    "Generation",
    "Macro",
    "MatrixWriter",
    "Mirror",
    "ObjectStore",
    "Outcome",
    "OvertakenError",
    "Publication",
    "PublishError",
    "ReadOnlyFolderError",
    "Record",
    "RecordError",
    "RollbackError",
    "StorageError",
    "StoreError",
    "Sweep",
    "arrow_schema",
    "atomic_path",
    "complete_batch",
    "connect_live",
    "connect_published",
    "definitions_digest",
    "export_notebook_files",
    "exported_blocks",
    "fingerprint",
    "is_alive",
    "is_dead",
    "ledger_from_table",
    "ledger_to_table",
    "list_generations",
    "map_matrix",
    "measured_rate",
    "newest_generation",
    "open_live",
    "owner_tag",
    "pending",
    "pinned_generation",
    "publish",
    "release",
    "roll_back",
    "sweep",
    "sweep_strays",
    "write_catalog",
    "write_matrix",
]
