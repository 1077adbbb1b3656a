-- Which features go with arousal, and which with valence?
-- For a manifest with the columns `arousal` and `valence`. One row for each feature, the most telling first. The
-- correlations are Spearman's, of ranks with ties at their mean, so that outliers and scales do not matter.
-- They run from -1 to 1; one beyond 2 / sqrt(n_tracks) is hardly chance, though of 56 features some will be
-- there by chance. A feature that does not vary is left out.
WITH long AS (
    UNPIVOT audio_features ON COLUMNS(* EXCLUDE (song_id)) INTO NAME feature VALUE value
),
ranked AS (
    SELECT
        feature,
        rank() OVER (PARTITION BY feature ORDER BY value)
        + count(*) OVER (PARTITION BY feature, value) / 2 AS value_rank,
        rank() OVER (PARTITION BY feature ORDER BY arousal)
        + count(*) OVER (PARTITION BY feature, arousal) / 2 AS arousal_rank,
        rank() OVER (PARTITION BY feature ORDER BY valence)
        + count(*) OVER (PARTITION BY feature, valence) / 2 AS valence_rank
    FROM long
    JOIN manifest USING (song_id)
    WHERE arousal IS NOT NULL AND valence IS NOT NULL
),
correlated AS (
    SELECT
        feature,
        count(*) AS n_tracks,
        corr(value_rank, arousal_rank) AS arousal_correlation,
        corr(value_rank, valence_rank) AS valence_correlation
    FROM ranked
    GROUP BY feature
    HAVING min(value_rank) < max(value_rank)
)
SELECT
    feature,
    n_tracks,
    round(arousal_correlation, 3) AS arousal_correlation,
    round(valence_correlation, 3) AS valence_correlation
FROM correlated
ORDER BY greatest(abs(correlated.arousal_correlation), abs(correlated.valence_correlation)) DESC, feature;
