-- What is in the library, and in which formats?
-- One row for each status, codec and sample rate, the most common first. Only 'live' tracks are analysed;
-- 'rejected' files are there but unusable (02 says why), 'missing' ones are in the manifest but not on
-- disk, so nothing was measured on them and their columns are NULL.
SELECT
    status,
    codec,
    sample_rate_hz,
    count(*) AS n_tracks,
    count(*) FILTER (channels = 1) AS n_mono,
    round(sum(duration_s) / 3600, 2) AS total_h,
    round(median(duration_s), 1) AS median_duration_s,
    round(min(duration_s), 1) AS shortest_s,
    round(max(duration_s), 1) AS longest_s,
    round(sum(size_bytes) / 1e6, 1) AS total_mb
FROM manifest
GROUP BY status, codec, sample_rate_hz
ORDER BY n_tracks DESC, status, codec, sample_rate_hz;
