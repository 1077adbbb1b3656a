-- Which tracks can follow one track without a break in tempo or key?
-- The track asked for (here the first with a tempo and a key; put any song_id in its place) comes first, then
-- those whose tempo is within 8 percent, about as far as a turntable's pitch slides, and whose key is its own
-- or a neighbour on the Camelot wheel. The nearest tempo comes first.
WITH opening AS (
    SELECT song_id, tempo_bpm, camelot
    FROM tracks
    WHERE tempo_bpm IS NOT NULL AND camelot IS NOT NULL
    ORDER BY song_id
    LIMIT 1
)
SELECT
    tracks.song_id,
    track_name,
    artist,
    round(tracks.tempo_bpm, 1) AS tempo_bpm,
    round(100 * (tracks.tempo_bpm / opening.tempo_bpm - 1), 1) AS tempo_change_percent,
    key,
    tracks.camelot,
    audio_path
FROM opening
JOIN tracks ON list_contains(camelot_neighbours(opening.camelot), tracks.camelot)
WHERE abs(tracks.tempo_bpm / opening.tempo_bpm - 1) <= 0.08
ORDER BY tracks.song_id = opening.song_id DESC, abs(tempo_change_percent), tracks.song_id
LIMIT 30;
