-- Which tracks sound like nothing else in the library?
-- The score is that of the nearest other track; a low one means that nothing is near: a style of its own, or a
-- file that is not what it seems. Every pair is compared: for more than some ten thousand tracks ask for those
-- of one genre or batch only.
WITH neighbours AS (
    SELECT
        a.song_id,
        max(array_inner_product(a.embedding, b.embedding)) AS score,
        arg_max(b.song_id, array_inner_product(a.embedding, b.embedding)) AS nearest_song_id
    FROM retrieval_index AS a
    JOIN retrieval_index AS b ON a.song_id <> b.song_id
    GROUP BY a.song_id
)
SELECT
    neighbours.song_id,
    round(score, 4) AS score,
    nearest_song_id,
    track_name,
    genre,
    audio_path
FROM neighbours
JOIN tracks USING (song_id)
ORDER BY score, neighbours.song_id
LIMIT 20;
