-- How are the tempi of the library, or of one genre, distributed?
-- One row for each range of 20 BPM that occurs, with a bar. Name another width as tempo_bucket(tempo_bpm, 10), and
-- put a genre or any other condition on the columns of tracks behind WHERE.
SELECT
    tempo_bucket(tempo_bpm) AS tempo_range_bpm,
    count(*) AS n_tracks,
    round(100 * avg(is_minor), 1) AS minor_percent,
    mode(key) AS commonest_key,
    bar(count(*), 0, max(count(*)) OVER (), 30) AS tracks
FROM tracks
WHERE tempo_bpm IS NOT NULL
GROUP BY tempo_range_bpm
ORDER BY tempo_range_bpm;
