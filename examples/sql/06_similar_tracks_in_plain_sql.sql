-- What sounds most like one track, without the macro, and only among tracks of about its tempo?
-- The vectors have unit length, so that the inner product is the cosine; being plain SQL, the search
-- takes any filter, here a tempo within 8 percent. Fewer than ten rows mean that few tracks pass it.
WITH query AS (
    SELECT song_id, embedding, tempo_bpm
    FROM retrieval_index
    JOIN audio_features USING (song_id)
    WHERE tempo_bpm IS NOT NULL
    ORDER BY song_id
    LIMIT 1
)
SELECT
    query.song_id AS query_song_id,
    candidate.song_id,
    round(array_inner_product(candidate.embedding, query.embedding), 4) AS score,
    round(query.tempo_bpm, 1) AS query_tempo_bpm,
    round(audio_features.tempo_bpm, 1) AS tempo_bpm
FROM query
JOIN retrieval_index AS candidate ON candidate.song_id <> query.song_id
JOIN audio_features ON audio_features.song_id = candidate.song_id
WHERE abs(audio_features.tempo_bpm / query.tempo_bpm - 1) <= 0.08
ORDER BY score DESC, candidate.song_id
LIMIT 10;
