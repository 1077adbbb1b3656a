"""What readers wait for: queries of the published file, and searches of the index."""

import duckdb
import numpy as np

from audio_assets.corpus import load_index
from resources.warehouse import Warehouse
from scale_cost.meter import Meter

_TIMES = 20


def measure_queries(warehouse: Warehouse, n_tracks: int, meter: Meter, *, with_vectors: bool) -> None:
    """Measure typical queries, each on an open connection, and ten neighbours of a track."""
    rng = np.random.default_rng(0)
    ids = [f"track-{number:08d}" for number in rng.integers(0, n_tracks, _TIMES)]
    path = str((warehouse.path / "warehouse.duckdb").resolve())
    with meter.step("open the published file"):
        connection = duckdb.connect(path, read_only=True)
    with connection:
        with meter.step("published: one track", times=_TIMES):
            for song_id in ids:
                connection.execute("SELECT * FROM audio_features WHERE song_id = ?", [song_id]).fetchall()
        with meter.step("published: mean of a feature"):
            connection.execute("SELECT avg(tempo_bpm) FROM audio_features").fetchall()
        with meter.step("published: 20 nearest in tempo, of all tracks"):
            connection.execute("SELECT song_id FROM tracks ORDER BY abs(tempo_bpm - 120) LIMIT 20").fetchall()
        with meter.step("published: batches"):
            connection.execute("SELECT * FROM batches").fetchall()
    if with_vectors:
        with meter.step("open the index"):
            opened = load_index(warehouse.record)
        assert opened is not None
        index, _ = opened
        queries = np.asarray(index.embeddings[rng.integers(0, n_tracks, _TIMES)]) + index.mean
        with meter.step("search: ten nearest", times=_TIMES):
            for query in queries:
                index.search(query[None], k=10)
