-- Scalar and table macros, the same in the published file and in catalog.sql; `schemas.py` describes them.
-- NULL in, NULL out. A table macro reads the tables of the database in use: of one that is attached, after USE.

-- 0 to 11 from the key's angle on the circle of semitones (C = 0); NULL where there is no angle.
CREATE OR REPLACE MACRO pitch_class(key_cos, key_sin) AS
    CASE WHEN abs(key_cos) + abs(key_sin) > 0
         THEN (TRY_CAST(round(atan2(key_sin, key_cos) * 6 / pi()) AS INTEGER) + 12) % 12
    END;

CREATE OR REPLACE MACRO key_name(key_cos, key_sin, is_minor) AS
    ['C', 'C#', 'D', 'Eb', 'E', 'F', 'F#', 'G', 'Ab', 'A', 'Bb', 'B'][1 + pitch_class(key_cos, key_sin)]
    || CASE WHEN is_minor >= 0.5 THEN ' minor' WHEN is_minor < 0.5 THEN ' major' END;

-- The wheel goes round by fifths, seven semitones each, from B major (1B); a minor key (A) has the number of
-- its relative major, three semitones above.
CREATE OR REPLACE MACRO camelot(key_cos, key_sin, is_minor) AS
    CASE WHEN is_minor >= 0.5 THEN (1 + (7 * pitch_class(key_cos, key_sin) + 4) % 12) || 'A'
         WHEN is_minor < 0.5 THEN (1 + (7 * pitch_class(key_cos, key_sin) + 7) % 12) || 'B'
    END;

CREATE OR REPLACE MACRO camelot_neighbours(code) AS
    CASE WHEN code IS NOT NULL THEN [
        code,
        (1 + (code[:-2]::INTEGER + 10) % 12) || code[-1:],
        (1 + code[:-2]::INTEGER % 12) || code[-1:],
        code[:-2] || CASE code[-1:] WHEN 'A' THEN 'B' ELSE 'A' END
    ] END;

-- Zero-padded, so that text sorts as numbers do.
CREATE OR REPLACE MACRO tempo_bucket(tempo_bpm, width_bpm := 20) AS
    CASE WHEN width_bpm <= 0 OR width_bpm <> floor(width_bpm)
         THEN error('tempo_bucket: the width has to be a whole number of BPM above 0')
         WHEN isfinite(tempo_bpm::DOUBLE)
         THEN printf('%03d-%03d', floor(tempo_bpm::DOUBLE / width_bpm)::INTEGER * width_bpm::INTEGER,
                     (1 + floor(tempo_bpm::DOUBLE / width_bpm)::INTEGER) * width_bpm::INTEGER)
    END;

CREATE OR REPLACE MACRO similar_tracks(track_id, k) AS TABLE
    SELECT candidate.song_id, array_inner_product(candidate.embedding, query.embedding) AS score
    FROM retrieval_index AS candidate
    CROSS JOIN (
        SELECT wanted.song_id,
               CASE WHEN known.song_id IS NULL
                    THEN error('similar_tracks: no track ' || wanted.song_id
                               || ' in retrieval_index; if it is in manifest, track_failures says why')
                    ELSE known.embedding
               END AS embedding
        FROM (SELECT track_id AS song_id) AS wanted
        LEFT JOIN retrieval_index AS known USING (song_id)
        WHERE wanted.song_id IS NOT NULL  -- such as the first track of an index that is empty
    ) AS query
    ORDER BY candidate.song_id = query.song_id DESC, score DESC, candidate.song_id
    LIMIT k;

-- Centred in double precision, once: in FLOAT a track would miss itself by more than 1e-6.
CREATE OR REPLACE MACRO nearest(vector, k) AS TABLE
    WITH given AS (
        SELECT vector::FLOAT[512] AS embedding
    ),
    places AS (
        SELECT unnest(range(512)) AS place,
               unnest(given.embedding::DOUBLE[]) AS value,
               unnest(info.mean::DOUBLE[]) AS mean
        FROM given CROSS JOIN retrieval_index_info AS info
    ),
    norms AS (
        SELECT count(value) AS n, sqrt(sum(value * value)) AS norm,
               sqrt(sum((value - mean) * (value - mean))) AS centred_norm
        FROM places
    ),
    query AS (
        SELECT CASE
            WHEN any_value(n) IS DISTINCT FROM 512
            THEN error('nearest: the vector is NULL or holds NULL, or nothing is indexed yet')
            WHEN NOT isfinite(any_value(centred_norm)) OR any_value(norm) <= 1e-12
                 OR any_value(centred_norm) <= 1e-12
            THEN error('nearest: the vector is zero, not finite, or the mean itself: it has no direction')
            ELSE list((value - mean) / centred_norm ORDER BY place)::FLOAT[512]
        END AS embedding
        FROM norms LEFT JOIN places ON true
    )
    SELECT candidate.song_id, array_inner_product(candidate.embedding, query.embedding) AS score
    FROM retrieval_index AS candidate CROSS JOIN query
    ORDER BY score DESC, candidate.song_id
    LIMIT k;
