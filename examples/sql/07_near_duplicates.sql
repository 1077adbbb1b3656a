-- Which tracks are in the library twice?
-- Pairs that sound almost the same, the most alike first. `same_bytes` tells a copied file from another
-- encoding, edit or take of the same music; a large `duration_difference_s` speaks for an edit.
-- Every pair is compared, so that ten times the tracks take a hundred times as long: seconds for some
-- thousand. For a larger library keep only pairs of about the same length.
WITH pairs AS (
    SELECT
        a.song_id,
        b.song_id AS other_song_id,
        array_inner_product(a.embedding, b.embedding) AS score
    FROM retrieval_index AS a
    JOIN retrieval_index AS b ON a.song_id < b.song_id
    WHERE score >= 0.98
)
SELECT
    pairs.song_id,
    other_song_id,
    round(score, 4) AS score,
    one.content_sha256 = other.content_sha256 AS same_bytes,
    round(abs(one.duration_s - other.duration_s), 2) AS duration_difference_s,
    one.audio_path,
    other.audio_path AS other_audio_path
FROM pairs
JOIN manifest AS one ON one.song_id = pairs.song_id
JOIN manifest AS other ON other.song_id = other_song_id
ORDER BY score DESC, pairs.song_id, other_song_id
LIMIT 100;
