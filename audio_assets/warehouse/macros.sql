-- Table and scalar macros, the same in the published file and in catalog.sql.

-- 'Eb minor' from the key's angle on the circle of semitones (C = 0).
CREATE OR REPLACE MACRO key_name(key_cos, key_sin, is_minor) AS
    ['C', 'C#', 'D', 'Eb', 'E', 'F', 'F#', 'G', 'Ab', 'A', 'Bb', 'B'][
        1 + (round(atan2(key_sin, key_cos) * 6 / pi())::INTEGER + 12) % 12
    ] || CASE WHEN is_minor >= 0.5 THEN ' minor' ELSE ' major' END;

-- The k tracks nearest to one track, itself first at 1.
CREATE OR REPLACE MACRO similar_tracks(track_id, k) AS TABLE
    SELECT candidate.song_id,
           array_inner_product(candidate.embedding, query.embedding) AS score
    FROM retrieval_index AS candidate
    CROSS JOIN (SELECT embedding FROM retrieval_index WHERE song_id = track_id) AS query
    ORDER BY score DESC, candidate.song_id
    LIMIT k;
