"""The columns of every table: one place that the Parquet record, DuckDB and the Dagster UI all read.

The record keeps *outcomes*: a row for every track that was tried, with either its numbers or the reason
why there are none. The tables that people query are the views over it in ``views.sql``.
"""

from dataclasses import dataclass

import pyarrow as pa

from audio_assets.embeddings import EMBEDDING_DIM
from audio_assets.features import FEATURES


@dataclass(frozen=True)
class Column:
    """A column with what a person needs to read it; ``unit`` is empty where there is none."""

    name: str
    type: pa.DataType
    description: str
    unit: str = ""

    @property
    def comment(self) -> str:
        """Description with the unit in brackets, as stored in DuckDB."""
        return f"{self.description} [{self.unit}]" if self.unit else self.description


#: Of a track that is there they say nothing, or are there already.
_NOT_IN_TRACKS = frozenset({"song_id", "status", "failure_code", "failure_message", "mtime_ns", "ctime_ns"})

_TIME = pa.timestamp("us", tz="UTC")
_VECTOR = pa.list_(pa.float32(), EMBEDDING_DIM)

SONG_ID = Column("song_id", pa.string(), "Id of the track; unique, never a number")
_SHA256 = Column("content_sha256", pa.string(), "SHA-256 of the file's bytes when this row was made")
EMBEDDING = Column("embedding", _VECTOR, "The vector, 512 dimensions")

LEDGER: tuple[Column, ...] = (
    SONG_ID,
    Column("audio_path", pa.string(), "Path as the manifest gives it"),
    Column("status", pa.string(), "live, rejected (there but unusable), missing (not on disk) or removed"),
    Column("batch", pa.string(), "Partition the track belongs to, for ever; NULL until it was live once"),
    Column("file_path", pa.string(), "Resolved path, relative to the library root"),
    Column(
        "duration_s",
        pa.float64(),
        "Length of the file, by its header or its packets; NULL where only decoding can tell",
        "s",
    ),
    Column("sample_rate_hz", pa.int64(), "Sample rate of the file", "Hz"),
    Column("channels", pa.int64(), "Channels of the file"),
    Column("codec", pa.string(), "Codec of the file, such as mp3, flac, vorbis, pcm_s16"),
    Column("size_bytes", pa.int64(), "Size of the file", "bytes"),
    Column("mtime_ns", pa.int64(), "Modification time of the file, since 1970", "ns"),
    Column("ctime_ns", pa.int64(), "Change time of the file, since 1970", "ns"),
    Column("content_sha256", pa.string(), "SHA-256 of the file's bytes"),
    Column("failure_code", pa.string(), "Why the track is not live"),
    Column("failure_message", pa.string(), "The reason in words"),
    Column("changed_at", _TIME, "When anything else in this row last changed"),
)

_OUTCOME: tuple[Column, ...] = (
    SONG_ID,
    _SHA256,
    Column("computed_at", _TIME, "When this row was made"),
    Column("elapsed_s", pa.float64(), "Wall time spent on the track", "s"),
    Column("failure_code", pa.string(), "Why there are no numbers; NULL where there are"),
    Column("failure_message", pa.string(), "The reason in words"),
)

_DECODING: tuple[Column, ...] = (
    Column("decoder", pa.string(), "Library that decoded the file: soundfile or pyav"),
    Column("declared_duration_s", pa.float64(), "Length that the file declares", "s"),
    Column("decoded_duration_s", pa.float64(), "Length that was decoded", "s"),
)

FEATURE_COLUMNS: tuple[Column, ...] = tuple(
    Column(feature.name, pa.float64(), feature.description, "" if feature.unit == "1" else feature.unit)
    for feature in FEATURES
)

SETTING_COLUMNS: tuple[Column, ...] = (
    Column("model_id", pa.string(), "CLAP checkpoint: hub id, or path of a local one"),
    Column("revision", pa.string(), "Pinned commit of the checkpoint"),
    Column("weights_sha256", pa.string(), "SHA-256 of the weights file"),
    Column("config_sha256", pa.string(), "SHA-256 of the files that configure model and processor"),
    Column("windowing", pa.string(), "Rule by which 10-s windows were cut and pooled"),
    Column("front_end", pa.string(), "Version of the log-mel spectrograms"),
    Column("precision", pa.string(), "Arithmetic of the audio tower"),
    Column("backend", pa.string(), "Library that ran the model"),
)

RECORD: dict[str, tuple[Column, ...]] = {
    "track_manifest": LEDGER,
    "audio_features": (
        *_OUTCOME,
        Column("extractor_version", pa.string(), "Version of the feature extractor"),
        *_DECODING,
        *FEATURE_COLUMNS,
    ),
    "clap_embeddings": (
        *_OUTCOME,
        Column(
            "settings_version",
            pa.string(),
            "Digest of weights_sha256, config_sha256, windowing, front_end, precision, backend and "
            "the version of the code around the model",
        ),
        *SETTING_COLUMNS,
        Column("n_windows", pa.int64(), "10-s windows that were averaged"),
        *_DECODING,
        EMBEDDING,
    ),
    "clap_embeddings_normalized": (
        SONG_ID,
        _SHA256,
        Column("computed_at", _TIME, "When this row was made"),
        Column("failure_code", pa.string(), "Why there is no vector; NULL where there is"),
        Column("failure_message", pa.string(), "The reason in words"),
        EMBEDDING,
    ),
    "retrieval_index": (SONG_ID, _SHA256, EMBEDDING),
}

PUBLISHED: dict[str, tuple[str, tuple[Column, ...]]] = {
    "manifest": (
        "Every track the library names, with all columns of the user's manifest and what was measured",
        LEDGER,
    ),
    "audio_features": (
        "56 rhythm, spectral and tonal features of every track that could be analysed",
        (SONG_ID, *FEATURE_COLUMNS),
    ),
    "audio_features_provenance": (
        "From which bytes, by which extractor and when each feature row was made",
        (
            SONG_ID,
            _SHA256,
            Column("extractor_version", pa.string(), "Version of the feature extractor"),
            Column("computed_at", _TIME, "When the row was made"),
            Column("elapsed_s", pa.float64(), "Wall time spent on the track", "s"),
            *_DECODING,
        ),
    ),
    "clap_embeddings": (
        "Raw CLAP audio embeddings, L2-normalised per track, with the settings that made them",
        (
            SONG_ID,
            EMBEDDING,
            Column("n_windows", pa.int64(), "10-s windows that were averaged"),
            *SETTING_COLUMNS,
            _SHA256,
            Column("computed_at", _TIME, "When the row was made"),
        ),
    ),
    "clap_embeddings_normalized": (
        "CLAP embeddings minus the mean over all tracks, then each of unit length",
        (SONG_ID, EMBEDDING),
    ),
    "retrieval_index": (
        "Vectors to search: score = inner product with a centred, normalised query",
        (SONG_ID, EMBEDDING),
    ),
    "retrieval_index_info": (
        "One row: the mean that queries are centred with, and what the index was built from",
        (
            Column("mean", _VECTOR, "Mean of all raw embeddings in the index; subtract it from a query"),
            Column("n_tracks", pa.int64(), "Tracks in the index"),
            Column(
                "text_mean",
                _VECTOR,
                "What texts are centred with; NULL where the model was not fit for texts",
            ),
            Column("corpus_version", pa.string(), "Version of the record's vectors that this index is of"),
            *SETTING_COLUMNS,
        ),
    ),
    "track_failures": (
        "Every track that has no row in a table, and why",
        (
            SONG_ID,
            Column("stage", pa.string(), "manifest, features, embedding or normalisation"),
            Column("code", pa.string(), "Reason, to group by"),
            Column("message", pa.string(), "The reason in words"),
            _SHA256,
            Column("failed_at", _TIME, "When it failed"),
        ),
    ),
    "batches": (
        "The partitions: how much of each is done",
        (
            Column("batch", pa.string(), "Partition key"),
            Column("n_tracks", pa.int64(), "Tracks ever put into the batch"),
            Column("n_live", pa.int64(), "Tracks of it that are there now"),
            Column("n_features", pa.int64(), "Live tracks with features"),
            Column("n_feature_failures", pa.int64(), "Live tracks that could not be analysed"),
            Column("n_embeddings", pa.int64(), "Live tracks with an embedding"),
            Column("n_embedding_failures", pa.int64(), "Live tracks that could not be embedded"),
        ),
    ),
}

VIEWS: dict[str, tuple[str, tuple[Column, ...]]] = {
    "tracks": (
        "Every track that is there now, with names, key, features and manifest; NULL where it has none. "
        "A column of the user's manifest that has a feature's name has _1 after it",
        (
            SONG_ID,
            Column("track_name", pa.string(), "Title, or the file's name where it has none"),
            *(
                Column(tag, pa.string(), f"{tag.capitalize()} by the user's manifest or the file's tags")
                for tag in ("title", "artist", "album", "genre")
            ),
            Column("key", pa.string(), "Key in words, such as Eb minor"),
            Column("camelot", pa.string(), "Key on the Camelot wheel, such as 2A for Eb minor"),
            *FEATURE_COLUMNS,
            *(column for column in LEDGER if column.name not in _NOT_IN_TRACKS),
        ),
    ),
}


@dataclass(frozen=True)
class Macro:
    """A macro of both doors: how it is called, and what it answers; a table macro stands after FROM."""

    signature: str
    description: str
    is_table: bool = False

    @property
    def name(self) -> str:
        """What it is called by."""
        return self.signature.partition("(")[0]


MACROS: tuple[Macro, ...] = (
    Macro(
        "similar_tracks(track_id, k)",
        "song_id and score of the k tracks nearest to a track, itself first at 1; an unknown id is an error. "
        "The score is the cosine once the mean of all tracks is taken away",
        is_table=True,
    ),
    Macro(
        "nearest(vector, k)",
        "song_id and score of the k tracks nearest to a raw embedding of 512 numbers, such as one of "
        "clap_embeddings; it is centred and normalised here. A vector without a direction is an error",
        is_table=True,
    ),
    Macro("key_name(key_cos, key_sin, is_minor)", "The key in words, such as Eb minor"),
    Macro("pitch_class(key_cos, key_sin)", "The key's tonic as 0 to 11, C = 0"),
    Macro(
        "camelot(key_cos, key_sin, is_minor)",
        "The key on the Camelot wheel: 1A to 12A are minor, 1B to 12B major, neighbours a fifth apart",
    ),
    Macro(
        "camelot_neighbours(code)",
        "List of the codes that mix with one: itself, a step down, a step up, and the other letter",
    ),
    Macro(
        "tempo_bucket(tempo_bpm, width_bpm := 20)",
        "The range a tempo is in, such as 120-140, the upper end not included; ranges sort as text",
    ),
)


def arrow_schema(name: str) -> pa.Schema:
    """Arrow schema of a record table, without the manifest's carried columns."""
    return pa.schema([(column.name, column.type) for column in RECORD[name]])
