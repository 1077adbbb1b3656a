"""What a report says, read from one published generation in memory that does not grow with the collection.

Features are read a column at a time and whole. Of vectors a fixed sample is taken, so that two reports of one
generation are alike.

What belongs here: queries, and handing their rows on. What does not: judging (``columns``), drawing, HTML.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audio_assets.cores import one_blas_thread
from audio_assets.embeddings import EMBEDDING_DIM, Hubness, SanityRecord, hubness, sanity_record
from audio_assets.features import FEATURE_NAMES, FEATURES
from audio_assets.report.columns import ColumnSummary, copies, missing_tonics, summarise

if TYPE_CHECKING:
    import duckdb

#: Tracks that the embeddings are judged by, where there are more; also what hubness looks at.
SAMPLED_TRACKS = 10_000
#: Part of what orders tracks for the sample.
SAMPLE_SEED = 42
_SHOWN_FORMATS = 12
_SHOWN_SLOWEST = 15

Row = dict[str, Any]
Vectors = npt.NDArray[np.float32]

_OVERVIEW = """
SELECT count(*) AS n_tracks,
       count(*) FILTER (status = 'live') AS n_live,
       sum(coalesce(decoded_duration_s, duration_s)) FILTER (status = 'live') / 3600 AS hours,
       (SELECT count(*) FROM audio_features) AS n_features,
       (SELECT count(*) FROM clap_embeddings) AS n_embeddings,
       (SELECT count(*) FROM retrieval_index) AS n_indexed,
       (SELECT count(DISTINCT song_id) FROM track_failures) AS n_failed,
       (SELECT count(*) FROM batches) AS n_batches,
       (SELECT string_agg(DISTINCT extractor_version, ', ') FROM audio_features_provenance) AS extractor
FROM manifest LEFT JOIN audio_features_provenance USING (song_id)
"""
_STATUSES = "SELECT status, count(*) AS n_tracks FROM manifest GROUP BY status ORDER BY n_tracks DESC, status"
_FORMATS = """
SELECT coalesce(codec, 'unknown') AS codec, count(*) AS n_tracks, sum(duration_s) / 3600 AS hours,
       mode(sample_rate_hz) AS usual_rate_hz, sum(size_bytes) / 1e9 AS size_gb
FROM manifest WHERE status = 'live'
GROUP BY ALL ORDER BY n_tracks DESC, codec LIMIT ?
"""
_MODEL = """
SELECT model_id, revision, weights_sha256, windowing, front_end, precision, backend FROM retrieval_index_info
"""
_TONICS = """
SELECT cast(round(atan2(key_sin, key_cos) * 6 / pi()) + 12 AS INTEGER) % 12 AS semitone, count(*) AS n_tracks
FROM audio_features WHERE key_cos IS NOT NULL GROUP BY ALL
"""
_FAILURES = """
SELECT stage, code, count(*) AS n_tracks,
       arg_min({song_id: song_id, message: message}, song_id, 3) AS examples
FROM track_failures GROUP BY ALL ORDER BY n_tracks DESC, stage, code
"""
_SLOWEST = """
SELECT song_id, name, elapsed_s, decoded_duration_s,
       elapsed_s * 60 / nullif(decoded_duration_s, 0) AS elapsed_s_per_min
FROM (
    SELECT * FROM audio_features_provenance
    WHERE elapsed_s IS NOT NULL
    ORDER BY elapsed_s DESC, song_id
    LIMIT ?
)
LEFT JOIN (SELECT song_id, track_name AS name FROM tracks) USING (song_id)
ORDER BY elapsed_s DESC, song_id
"""
_CHOSEN_TRACKS = """
SELECT raw.embedding AS raw, centred.embedding AS centred
FROM clap_embeddings AS raw JOIN retrieval_index AS centred USING (song_id)
SEMI JOIN (SELECT song_id FROM retrieval_index ORDER BY md5(? || song_id), song_id LIMIT ?) USING (song_id)
ORDER BY song_id
"""


@dataclass(frozen=True)
class VectorSpace:
    """One set of vectors of the sampled tracks.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, 512)
        Rows of unit length, by ``song_id``.
    sanity : SanityRecord
        What they measure.
    singular_shares : ndarray of float64
        Singular values of the rows, largest first, as shares of their sum.
    """

    vectors: Vectors
    sanity: SanityRecord
    singular_shares: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Contents:
    """All that a report says.

    Parameters
    ----------
    overview : dict
        Counts, hours and versions.
    statuses, formats, failures, slowest : list of dict
        Rows of tables.
    model : dict or None
        Settings that the index was made with; None where nothing is indexed.
    columns : list of ColumnSummary
        The 56 features, in their order.
    copies : list of (str, str, float)
        Features that say the same.
    missing_tonics : list of int
        Semitones above C that no track is in.
    tempo_bpm : ndarray of float64, shape (n,)
        Of every track.
    key : tuple of three ndarray of float64, shape (n,)
        ``key_cos``, ``key_sin`` and ``is_minor`` of every track.
    raw, centred : VectorSpace
        Embeddings of the sampled tracks before and after centring.
    hubness : Hubness or None
        Of the centred ones; None where they are too few.
    """

    overview: Row
    statuses: list[Row]
    formats: list[Row]
    model: Row | None
    columns: list[ColumnSummary]
    copies: list[tuple[str, str, float]]
    missing_tonics: list[int]
    tempo_bpm: npt.NDArray[np.float64]
    key: tuple[npt.NDArray[np.float64], ...]
    raw: VectorSpace
    centred: VectorSpace
    hubness: Hubness | None
    failures: list[Row]
    slowest: list[Row]


def read_contents(connection: "duckdb.DuckDBPyConnection") -> Contents:
    """Read what a report says.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Open on a published generation.

    Returns
    -------
    Contents
        All of it. At 10^6 tracks some 100 MB.
    """
    (overview,) = _rows(connection, _OVERVIEW)
    tonics = {row["semitone"]: row["n_tracks"] for row in _rows(connection, _TONICS)}
    raw, centred = map(_space, _sampled_vectors(connection))
    return Contents(
        overview=overview,
        statuses=_rows(connection, _STATUSES),
        formats=_rows(connection, _FORMATS, [_SHOWN_FORMATS]),
        model=next(iter(_rows(connection, _MODEL)), None),
        columns=list(_columns(connection)),
        copies=copies(FEATURE_NAMES, _sampled_features(connection)),
        missing_tonics=missing_tonics([tonics.get(semitone, 0) for semitone in range(12)]),
        tempo_bpm=_column(connection, "tempo_bpm"),
        key=tuple(_column(connection, name) for name in ("key_cos", "key_sin", "is_minor")),
        raw=raw,
        centred=centred,
        hubness=hubness(centred.vectors),
        failures=_rows(connection, _FAILURES),
        slowest=_rows(connection, _SLOWEST, [_SHOWN_SLOWEST]),
    )


def _rows(
    connection: "duckdb.DuckDBPyConnection", query: str, parameters: list[Any] | None = None
) -> list[Row]:
    cursor = connection.execute(query, parameters)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _columns(connection: "duckdb.DuckDBPyConnection") -> Iterator[ColumnSummary]:
    for feature in FEATURES:
        yield summarise(feature, _column(connection, feature.name))


def _column(connection: "duckdb.DuckDBPyConnection", name: str) -> npt.NDArray[np.float64]:
    """One feature of every track, NaN for NULL; at 10^6 tracks 8 MB."""
    assert name in FEATURE_NAMES
    return _filled(connection.execute(f"SELECT {name} FROM audio_features").fetchnumpy()[name])  # noqa: S608


def _sampled_features(connection: "duckdb.DuckDBPyConnection") -> npt.NDArray[np.float64]:
    columns = connection.execute(
        f"SELECT {', '.join(FEATURE_NAMES)} FROM audio_features ORDER BY md5(? || song_id), song_id LIMIT ?",  # noqa: S608
        [str(SAMPLE_SEED), SAMPLED_TRACKS],
    ).fetchnumpy()
    return np.column_stack([_filled(columns[name]) for name in FEATURE_NAMES])


def _filled(column: Any) -> npt.NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)


def _sampled_vectors(connection: "duckdb.DuckDBPyConnection") -> tuple[Vectors, Vectors]:
    found = connection.sql(_CHOSEN_TRACKS, params=[str(SAMPLE_SEED), SAMPLED_TRACKS]).to_arrow_table()
    raw, centred = (
        np.asarray(found[name].combine_chunks().flatten(), dtype=np.float32).reshape(-1, EMBEDDING_DIM)
        for name in ("raw", "centred")
    )
    return raw, centred


def _space(vectors: Vectors) -> VectorSpace:
    # Of the Gram matrix, as sanity_record does, since an SVD of as many rows takes ten times as long.
    gram = vectors.T.astype(np.float64) @ vectors
    with one_blas_thread():
        eigenvalues = np.linalg.eigvalsh(gram)[::-1]
    singular = np.sqrt(np.clip(eigenvalues, 0, None)) if len(vectors) else np.empty(0)
    shares = singular[: len(vectors)] / max(singular.sum(), np.finfo(np.float64).tiny)
    return VectorSpace(vectors, sanity_record(vectors), shares)
