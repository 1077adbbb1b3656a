-- Which are the ten slowest and the ten fastest tracks?
-- Tempo detectors err by octaves: a track of 70 BPM is often found at 140. `bpm_first_peak` and
-- `bpm_second_peak`, from another detector, show whether it heard the half or the double as well.
WITH ranked AS (
    SELECT
        song_id,
        tempo_bpm,
        bpm_first_peak,
        bpm_second_peak,
        row_number() OVER (ORDER BY tempo_bpm, song_id) AS from_slow,
        row_number() OVER (ORDER BY tempo_bpm DESC, song_id) AS from_fast
    FROM audio_features
    WHERE tempo_bpm IS NOT NULL
)
SELECT
    CASE WHEN from_slow <= from_fast THEN 'slow' ELSE 'fast' END AS pace,
    song_id,
    round(tempo_bpm, 1) AS tempo_bpm,
    bpm_first_peak,
    bpm_second_peak,
    audio_path
FROM ranked
JOIN manifest USING (song_id)
WHERE from_slow <= 10 OR from_fast <= 10
ORDER BY from_slow;
