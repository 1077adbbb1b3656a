-- What sounds most like one track?
-- The track asked for (here the first of the index; put any song_id in its place) comes first at 1, then its
-- ten nearest neighbours. Scores are cosines after the mean of the library is taken away: 0 is as alike as
-- two tracks of this library usually are, below 0 is less alike than that.
SELECT
    song_id,
    round(score, 4) AS score,
    round(tempo_bpm, 1) AS tempo_bpm,
    key_name(key_cos, key_sin, is_minor) AS key,
    audio_path
FROM similar_tracks((SELECT min(song_id) FROM retrieval_index), 11)
JOIN manifest USING (song_id)
LEFT JOIN audio_features USING (song_id)
ORDER BY score DESC, song_id;
