"""A published collection without any audio: made-up features and vectors, and texts that mean harm."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from audio_assets.corpus import index_corpus, normalise_corpus
from audio_assets.embeddings import EmbeddingSettings, Windowing
from audio_assets.features import EXTRACTOR_VERSION, FEATURES, Feature
from audio_assets.library import Entry
from audio_assets.warehouse import Record, arrow_schema, ledger_to_table
from resources.warehouse import Warehouse

SETTINGS = EmbeddingSettings("model", "revision", "weights", "config", Windowing(6), "float32")
BATCH = "batch-000001"
HOSTILE = (
    "<script>window.harmed = 1</script>",
    "\"><img src=x onerror='window.harmed = 1'>",
    "</title></style><svg onload=window.harmed=1>",
    "{{ 7 * 7 }} {% raw %} &amp; 'quoted' “ジャズ” \u202e",
)
N_FAILED = 3


def publish_collection(data: Path, n: int, **constant: float) -> Warehouse:
    """Make and publish `n` good tracks in three groups, and three that failed.

    Features are random within what their definition allows, save those that are given as constant.
    """
    warehouse = Warehouse(data_dir=str(data))
    warehouse.prepare()
    tracks = [_entry(number) for number in range(n + N_FAILED)]
    _write_manifest(warehouse.record, tracks)
    rows = [{"song_id": t.song_id, "content_sha256": t.content_sha256} for t in tracks]
    good, bad = rows[:n], rows[n:]
    failed = [{**row, "failure_code": "silent", "failure_message": HOSTILE[0]} for row in bad]
    features = _features(good, constant) + [{**row, "extractor_version": EXTRACTOR_VERSION} for row in failed]
    vectors = _vectors(good) + [{**row, "settings_version": SETTINGS.version} for row in failed]
    for name, made in (("audio_features", features), ("clap_embeddings", vectors)):
        table = pa.Table.from_pylist(made, schema=arrow_schema(name))
        warehouse.record.write(name, table, batch=BATCH)
    normalise_corpus(warehouse.record, SETTINGS)
    index_corpus(warehouse.record, SETTINGS, None)
    warehouse.publish()
    return warehouse


def title_of(number: int) -> str:
    return HOSTILE[number] if number < len(HOSTILE) else f"Title {number}"


def _entry(number: int) -> Entry:
    return Entry(
        f"t{number:04d}",
        f"{number}.wav",
        "live",
        batch=BATCH,
        content_sha256=f"hash {number}",
        duration_s=30.0,
        codec="mp3",
    )


def _write_manifest(record: Record, tracks: list[Entry]) -> None:
    carried = {
        "song_id": [track.song_id for track in tracks],
        "audio_path": [track.audio_path for track in tracks],
        "title": [title_of(number) for number in range(len(tracks))],
        "genre": [f"group {number % 3}" for number in range(len(tracks))],
    }
    record.write("track_manifest", ledger_to_table(tracks, pa.table(carried)))


def _features(rows: list[dict[str, str]], constant: dict[str, float]) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    return [
        {
            **row,
            "extractor_version": EXTRACTOR_VERSION,
            "elapsed_s": 0.1 + number / 1000,
            "decoded_duration_s": 30.0,
            **{f.name: constant.get(f.name, _value(f, rng)) for f in FEATURES},
        }
        for number, row in enumerate(rows)
    ]


def _value(feature: Feature, rng: np.random.Generator) -> float:
    low = -100.0 if feature.lower is None else feature.lower
    high = low + 200.0 if feature.upper is None else feature.upper
    return float(rng.uniform(low, high))


def _vectors(rows: list[dict[str, str]]) -> list[dict[str, object]]:
    """Three groups of directions in one cone."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((3, 512)) + 2
    vectors = centres[np.arange(len(rows)) % 3] + rng.standard_normal((len(rows), 512)) / 2
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        {**row, "settings_version": SETTINGS.version, "n_windows": 1, "embedding": vector.astype(np.float32)}
        for row, vector in zip(rows, vectors, strict=True)
    ]
