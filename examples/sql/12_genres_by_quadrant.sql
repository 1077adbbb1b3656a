-- How are genres spread over the quadrants of emotion, and how do the quadrants sound?
-- For a manifest with the columns `quadrant` (Q1 happy, Q2 angry, Q3 sad, Q4 calm) and `genre`. One row for each
-- quadrant and genre, and one, with NULL as its genre, for the quadrant. A track of several genres ('Jazz,Blues')
-- counts in each, so that shares of a quadrant add up to more than 100.
WITH labelled AS (
    SELECT
        song_id,
        quadrant,
        trim(unnest(string_split(coalesce(nullif(trim(genre), ''), 'unknown'), ','))) AS label,
        tempo_bpm,
        is_minor,
        onset_strength_mean
    FROM tracks
),
counted AS (
    SELECT
        quadrant,
        label AS genre,
        count(DISTINCT song_id) AS n_tracks,
        median(tempo_bpm) AS median_tempo_bpm,
        100 * avg(is_minor) AS minor_percent,
        median(onset_strength_mean) AS median_onset_strength
    FROM labelled
    GROUP BY GROUPING SETS ((quadrant, label), (quadrant))
)
SELECT
    quadrant,
    genre,
    n_tracks,
    round(100 * n_tracks / max(n_tracks) OVER (PARTITION BY quadrant), 1) AS share_percent,
    round(median_tempo_bpm, 1) AS median_tempo_bpm,
    round(minor_percent, 1) AS minor_percent,
    round(median_onset_strength, 2) AS median_onset_strength
FROM counted
ORDER BY quadrant, genre IS NOT NULL, n_tracks DESC, genre;
