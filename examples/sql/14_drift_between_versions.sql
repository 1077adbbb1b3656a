-- What has changed since an older generation was published?
-- Put its name in the first line: 'audio-assets versions' lists those that are kept, beside warehouse.duckdb. One
-- row for each feature whose values moved on tracks that both have, the furthest first, in units of its spread
-- in the older one; a last row for each kind of track that only one of them has. No row: nothing moved.
ATTACH 'data/warehouse-OLDER.duckdb' AS older (READ_ONLY);

WITH before AS (
    UNPIVOT older.audio_features ON COLUMNS(* EXCLUDE (song_id)) INTO NAME feature VALUE value
),
now AS (
    UNPIVOT audio_features ON COLUMNS(* EXCLUDE (song_id)) INTO NAME feature VALUE value
),
spreads AS (
    SELECT feature, stddev_pop(value) AS spread
    FROM before
    GROUP BY feature
),
moved AS (
    SELECT
        now.feature AS what,
        count(*) FILTER (now.value <> before.value) AS n_tracks,
        avg(now.value - before.value) AS mean_change,
        max(abs(now.value - before.value)) AS largest_change,
        arg_max(song_id, abs(now.value - before.value)) AS example_song_id
    FROM before
    JOIN now USING (song_id, feature)
    GROUP BY now.feature
    HAVING n_tracks > 0
),
come_and_gone AS (
    SELECT 'new track' AS what, count(*) AS n_tracks, min(song_id) AS example_song_id
    FROM tracks ANTI JOIN older.manifest AS earlier USING (song_id)
    UNION ALL
    SELECT 'gone track', count(*), min(song_id)
    FROM older.manifest AS earlier ANTI JOIN tracks USING (song_id)
    WHERE earlier.status = 'live'
)
SELECT
    what,
    n_tracks,
    mean_change,
    largest_change,
    round(largest_change / nullif(spread, 0), 3) AS largest_in_spreads,
    example_song_id
FROM moved
LEFT JOIN spreads ON feature = what
UNION ALL BY NAME
SELECT * FROM come_and_gone WHERE n_tracks > 0
ORDER BY largest_in_spreads DESC NULLS LAST, what;
