-- Which tracks have no result, at which stage, and why?
-- One row for each stage and reason, the most frequent first, with the latest case as an example.
-- A track may stand here for one stage and still have results of another.
SELECT
    stage,
    code,
    count(*) AS n_tracks,
    max(failed_at) AS latest,
    arg_max(song_id, failed_at) AS example_song_id,
    arg_max(message, failed_at) AS example_message
FROM track_failures
GROUP BY stage, code
ORDER BY n_tracks DESC, stage, code;
