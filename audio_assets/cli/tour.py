"""What a newcomer is shown after the demo run: a few rows of each table beside what is known to be true."""

from pathlib import Path
from typing import TYPE_CHECKING

from audio_assets.cli.printing import out, print_rows
from audio_assets.warehouse import LINK_NAME

if TYPE_CHECKING:
    import duckdb

_FEATURES = """
SELECT truth.title, truth.instrument,
       truth.tempo_bpm AS true_bpm, round(tempo_bpm_of.tempo_bpm, 1) AS tempo_bpm,
       truth.key_tonic || ' ' || truth.key_mode AS true_key, key_name(key_cos, key_sin, is_minor) AS key,
       round(key_strength, 2) AS key_strength
FROM read_csv(?) AS truth
JOIN manifest ON manifest.audio_path = truth.relative_path
JOIN audio_features AS tempo_bpm_of USING (song_id)
ORDER BY truth.relative_path
LIMIT 8
"""

_NEIGHBOURS = """
SELECT truth.title, truth.instrument, truth.tempo_bpm AS true_bpm, round(score::DOUBLE, 3) AS score
FROM similar_tracks((SELECT song_id FROM manifest WHERE audio_path = ?), 5)
JOIN manifest USING (song_id)
JOIN read_csv(?) AS truth ON manifest.audio_path = truth.relative_path
ORDER BY score DESC
"""
_ASKED = "folk/fern_and_stone.mp3"


def show_tour(data_dir: Path, truth: Path) -> None:
    """Print feature rows beside the truth, and the neighbours of one track.

    Parameters
    ----------
    data_dir : Path
        Data folder of a finished run over the demo library.
    truth : Path
        ``truth.csv`` of the demo library.
    """
    import duckdb

    with duckdb.connect(str((data_dir / LINK_NAME).resolve()), read_only=True) as connection:
        out.print("\n[bold]Features beside the tempo and key the tracks were made with[/bold]")
        out.print("(the first eight; a tempo may be found at its half or double)")
        _print(connection.execute(_FEATURES, [str(truth)]))
        out.print("\n[bold]A track and its nearest[/bold]")
        out.print(
            "Found by the demo model, which was trained on synthesised music like this and knows no other."
        )
        _print(connection.execute(_NEIGHBOURS, [_ASKED, str(truth)]))
    out.print(f"\nAsk more: audio-assets similar {_ASKED} --data {data_dir}")
    out.print(f'          audio-assets sql --data {data_dir} "SELECT ..."')


def _print(cursor: "duckdb.DuckDBPyConnection") -> None:
    print_rows(tuple(column[0] for column in cursor.description or ()), cursor.fetchall())
