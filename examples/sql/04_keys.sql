-- How many tracks are in which key, and how sure is the detector?
-- One row for each of the keys that occur. `key_strength` runs from 0 to 1; the example is the track
-- whose key is clearest. The tables hold the key as an angle: key_name() turns it into words.
SELECT
    key_name(key_cos, key_sin, is_minor) AS key,
    count(*) AS n_tracks,
    round(100 * count(*) / sum(count(*)) OVER (), 1) AS share_percent,
    round(median(key_strength), 2) AS median_strength,
    arg_max(song_id, key_strength) AS clearest_song_id
FROM audio_features
WHERE key_cos IS NOT NULL
GROUP BY key
ORDER BY n_tracks DESC, key;
