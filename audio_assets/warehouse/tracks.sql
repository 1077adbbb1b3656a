-- The view `tracks`, over the tables that are there: the same in the published file and in catalog.sql.

-- Union by name gives every manifest the columns of a scanned one, as NULL where it has none, and no row more;
-- AS gives them these names where the user wrote Title.
-- DuckDB calls the second of two equally named columns name_1; the user's stand behind the features. It does so
-- in the inner query: in the outer one the second would be described by the comment on the first.
CREATE OR REPLACE VIEW tracks AS
FROM (
    SELECT
        known.song_id,
        coalesce(
            nullif(trim(known.title), ''), parse_filename(known.file_path, false, 'forward_slash')
        ) AS track_name,
        known.title AS title,
        known.artist AS artist,
        known.album AS album,
        known.genre AS genre,
        key_name(key_cos, key_sin, is_minor) AS key,
        camelot(key_cos, key_sin, is_minor) AS camelot,
        audio_features.* EXCLUDE (song_id),
        known.* EXCLUDE (song_id, title, artist, album, genre, status, failure_code, failure_message)
    FROM (
        FROM manifest
        UNION ALL BY NAME
        SELECT NULL::VARCHAR AS title, NULL::VARCHAR AS artist, NULL::VARCHAR AS album, NULL::VARCHAR AS genre
        WHERE false
    ) AS known
    LEFT JOIN audio_features USING (song_id)
    WHERE known.status = 'live'
);
