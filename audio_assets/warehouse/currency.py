"""Whether what is built of the record is younger than what it is built of, as ``make`` would ask."""

from collections.abc import Iterable
from pathlib import Path

from audio_assets.warehouse.publish import LINK_NAME
from audio_assets.warehouse.record import Record


def retrieval_is_current(record: Record) -> bool:
    """Whether the index is younger than the manifest, the embeddings and their centring."""
    sources = [
        record.path("track_manifest"),
        record.path("clap_embeddings_normalized"),
        *(record.path("clap_embeddings", batch) for batch in record.batches("clap_embeddings")),
    ]
    return _changed_ns([record.path("retrieval_index")]) >= _changed_ns(sources)


def publication_is_current(record: Record, data_dir: Path) -> bool:
    """Whether nothing was recorded since the generation in place was built."""
    return _changed_ns([data_dir / LINK_NAME]) >= _changed_ns(record.root.rglob("part.parquet"))


def _changed_ns(paths: Iterable[Path]) -> int:
    return max((path.stat().st_mtime_ns for path in paths if path.exists()), default=0)
