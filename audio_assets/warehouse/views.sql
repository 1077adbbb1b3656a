-- The tables of audio-assets as views over the Parquet record.
-- The published warehouse.duckdb is these views written down; both doors answer alike.
-- $record stands for the record's folder.

-- The normalised table and its index are of one version, the newest that has its index. A session stays with
-- the one it found when it began; this statement again takes the newest.
SET VARIABLE audio_assets_corpus = (
    SELECT '$record/corpus/' || max(parse_path(file)[-2])
    FROM glob('$record/corpus/*/retrieval_index.parquet')
);

CREATE OR REPLACE VIEW manifest AS
SELECT * EXCLUDE (mtime_ns, ctime_ns)
FROM read_parquet('$record/track_manifest/part.parquet')
WHERE status <> 'removed';

CREATE OR REPLACE VIEW live_tracks AS
SELECT song_id, content_sha256, batch
FROM read_parquet('$record/track_manifest/part.parquet')
WHERE status = 'live';

-- Rows of one extractor and of one model only: those of another version wait to be computed again.
CREATE OR REPLACE VIEW feature_outcomes AS
SELECT *
FROM read_parquet('$record/audio_features/**/*.parquet', hive_partitioning = false)
SEMI JOIN live_tracks USING (song_id, content_sha256)
WHERE extractor_version = '$extractor_version';

CREATE OR REPLACE VIEW settings_in_force AS
SELECT max(decode(value)) FILTER (decode(key) = 'settings_version') AS settings_version
FROM parquet_kv_metadata(getvariable('audio_assets_corpus') || '/clap_embeddings_normalized.parquet');

-- By name: batches on record from before a setting was kept have NULL for it.
CREATE OR REPLACE VIEW embedding_outcomes AS
SELECT *
FROM read_parquet('$record/clap_embeddings/**/*.parquet', hive_partitioning = false, union_by_name = true)
SEMI JOIN live_tracks USING (song_id, content_sha256)
WHERE settings_version = coalesce((SELECT settings_version FROM settings_in_force), settings_version);

CREATE OR REPLACE VIEW embedding_attempts AS
SELECT * EXCLUDE (embedding)
FROM embedding_outcomes;

CREATE OR REPLACE VIEW normalisation_outcomes AS
SELECT *
FROM read_parquet(getvariable('audio_assets_corpus') || '/clap_embeddings_normalized.parquet')
SEMI JOIN live_tracks USING (song_id, content_sha256);

CREATE OR REPLACE VIEW audio_features AS
SELECT song_id, $features
FROM feature_outcomes
WHERE failure_code IS NULL;

CREATE OR REPLACE VIEW audio_features_provenance AS
SELECT song_id, content_sha256, extractor_version, computed_at, elapsed_s,
       decoder, declared_duration_s, decoded_duration_s
FROM feature_outcomes
WHERE failure_code IS NULL;

CREATE OR REPLACE VIEW clap_embeddings AS
SELECT song_id, embedding::FLOAT[512] AS embedding, n_windows,
       model_id, revision, weights_sha256, config_sha256, windowing, front_end, precision, backend,
       content_sha256, computed_at
FROM embedding_outcomes
WHERE failure_code IS NULL;

CREATE OR REPLACE VIEW clap_embeddings_normalized AS
SELECT song_id, embedding::FLOAT[512] AS embedding
FROM normalisation_outcomes
WHERE failure_code IS NULL;

CREATE OR REPLACE VIEW retrieval_index AS
SELECT song_id, embedding::FLOAT[512] AS embedding
FROM read_parquet(getvariable('audio_assets_corpus') || '/retrieval_index.parquet')
SEMI JOIN live_tracks USING (song_id, content_sha256);

CREATE OR REPLACE VIEW retrieval_index_info AS
WITH pairs AS (
    SELECT decode(key) AS name, decode(value) AS text
    FROM parquet_kv_metadata(getvariable('audio_assets_corpus') || '/retrieval_index.parquet')
)
SELECT max(text) FILTER (name = 'mean')::FLOAT[512] AS mean,
       (SELECT count(*) FROM retrieval_index) AS n_tracks,
       max(text) FILTER (name = 'text_mean')::FLOAT[512] AS text_mean,
       parse_path(getvariable('audio_assets_corpus'))[-1] AS corpus_version,
       max(text) FILTER (name = 'model_id') AS model_id,
       max(text) FILTER (name = 'revision') AS revision,
       max(text) FILTER (name = 'weights_sha256') AS weights_sha256,
       max(text) FILTER (name = 'config_sha256') AS config_sha256,
       max(text) FILTER (name = 'windowing') AS windowing,
       max(text) FILTER (name = 'front_end') AS front_end,
       max(text) FILTER (name = 'precision') AS precision,
       max(text) FILTER (name = 'backend') AS backend
FROM pairs
HAVING max(text) FILTER (name = 'mean') IS NOT NULL;

CREATE OR REPLACE VIEW track_failures AS
SELECT song_id, 'manifest' AS stage, failure_code AS code, failure_message AS message,
       content_sha256, changed_at AS failed_at
FROM manifest
WHERE failure_code IS NOT NULL
UNION ALL
SELECT song_id, 'features', failure_code, failure_message, content_sha256, computed_at
FROM feature_outcomes
WHERE failure_code IS NOT NULL
UNION ALL
SELECT song_id, 'embedding', failure_code, failure_message, content_sha256, computed_at
FROM embedding_attempts
WHERE failure_code IS NOT NULL
UNION ALL
SELECT song_id, 'normalisation', failure_code, failure_message, content_sha256, computed_at
FROM normalisation_outcomes
WHERE failure_code IS NOT NULL;

CREATE OR REPLACE VIEW batches AS
WITH tracks AS (
    SELECT batch, count(*) AS n_tracks, count(*) FILTER (status = 'live') AS n_live
    FROM read_parquet('$record/track_manifest/part.parquet')
    WHERE batch IS NOT NULL
    GROUP BY batch
),
features AS (
    SELECT batch, count(*) FILTER (failure_code IS NULL) AS n_ok, count(failure_code) AS n_failed
    FROM feature_outcomes JOIN live_tracks USING (song_id)
    GROUP BY batch
),
embeddings AS (
    SELECT batch, count(*) FILTER (failure_code IS NULL) AS n_ok, count(failure_code) AS n_failed
    FROM embedding_attempts JOIN live_tracks USING (song_id)
    GROUP BY batch
)
SELECT batch, n_tracks, n_live,
       coalesce(features.n_ok, 0) AS n_features,
       coalesce(features.n_failed, 0) AS n_feature_failures,
       coalesce(embeddings.n_ok, 0) AS n_embeddings,
       coalesce(embeddings.n_failed, 0) AS n_embedding_failures
FROM tracks
LEFT JOIN features USING (batch)
LEFT JOIN embeddings USING (batch);
