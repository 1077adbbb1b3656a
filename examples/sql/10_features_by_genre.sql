-- How do the genres differ, and do faster tracks have stronger onsets?
-- One row for each genre of the tags or the manifest, the largest first, after one, with NULL as its genre,
-- for the whole library. A track of several genres ('Jazz,Blues') counts in each, and one without any as
-- 'unknown'. The correlation runs from -1 to 1 and is NULL where nothing varies; do not trust it under some
-- thirty tracks.
WITH labelled AS (
    SELECT
        song_id,
        trim(unnest(string_split(coalesce(nullif(trim(genre), ''), 'unknown'), ','))) AS genre
    FROM manifest
),
described AS (
    SELECT genre, audio_features.*
    FROM labelled
    JOIN audio_features USING (song_id)
)
SELECT
    genre,
    count(DISTINCT song_id) AS n_tracks,
    round(median(tempo_bpm), 1) AS median_tempo_bpm,
    round(100 * avg(is_minor), 1) AS minor_percent,
    round(median(spectral_centroid_mean), 0) AS median_centroid_hz,
    round(median(onset_strength_mean), 2) AS median_onset_strength,
    round(corr(tempo_bpm, onset_strength_mean), 2) AS tempo_onset_correlation
FROM described
GROUP BY ROLLUP (genre)
ORDER BY genre IS NOT NULL, n_tracks DESC, genre;
