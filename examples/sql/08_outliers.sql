-- Which tracks are the most unusual in one feature?
-- The feature is the spectral centroid (Hz): high is bright, low is dull. Name another in the first SELECT
-- to look at that one. The robust z-score is the distance from the median in units of the median absolute
-- deviation, scaled to agree with a standard deviation where the feature is normally distributed; unlike
-- the plain z-score it is not pulled along by the outliers themselves. Beyond 3.5 is worth listening to;
-- if no row gets there the feature has no outliers.
WITH feature AS (
    SELECT song_id, spectral_centroid_mean AS value
    FROM audio_features
    WHERE value IS NOT NULL
),
scale AS (
    SELECT median(value) AS middle, 1.4826 * mad(value) AS spread
    FROM feature
)
SELECT
    song_id,
    round(value, 1) AS value,
    round(middle, 1) AS median,
    round((feature.value - middle) / nullif(spread, 0), 2) AS robust_z,
    audio_path
FROM feature
CROSS JOIN scale
JOIN manifest USING (song_id)
ORDER BY abs(feature.value - middle) DESC, song_id
LIMIT 20;
