"""The command line, as processes of their own: what it prints and the code it exits with."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import cli
from conftest import Workplace
from test_unattended import note
from typer.testing import CliRunner

from audio_assets import open_warehouse
from audio_assets.cli import app
from audio_assets.pipeline import dagster_home


def test_the_demo_shows_features_beside_the_truth_checks_and_neighbours(demo: tuple[Path, str]) -> None:
    _, printed = demo
    assert " passed, 1 warned, 0 failed" in printed
    assert "true_bpm" in printed
    assert "true_key" in printed
    assert "was trained on synthesised music" in printed
    assert "score" in printed


def test_the_nearest_tracks_of_the_demo_are_of_the_same_instrument(demo: tuple[Path, str]) -> None:
    """Whatever their format: 24 tracks, three others of the same instrument for each."""
    data, _ = demo
    query = """
        SELECT avg((asked.instrument = found.instrument)::INTEGER) AS same
        FROM read_csv('{0}') AS asked
        JOIN manifest AS known ON known.audio_path = asked.relative_path
        JOIN retrieval_index AS query ON query.song_id = known.song_id
        JOIN LATERAL (
            SELECT candidate.song_id
            FROM retrieval_index AS candidate
            WHERE candidate.song_id != query.song_id
            ORDER BY array_inner_product(candidate.embedding, query.embedding) DESC
            LIMIT 3
        ) AS near ON true
        JOIN manifest AS neighbour ON neighbour.song_id = near.song_id
        JOIN read_csv('{0}') AS found ON found.relative_path = neighbour.audio_path
    """.format(data / "demo" / "truth.csv")
    ((same,),) = (
        row.values() for row in json.loads(cli("sql", query, "--data", data, "--format", "json").stdout)
    )
    assert same >= 0.75  # chance: 3 of 23


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("organ", "organ"),
        ("violins", "strings"),
        ("acoustic guitar", "plucked"),
        ("a brass band", "brass"),
        ("electric piano", "electric_piano"),
        ("synthesizer music", "synth_lead"),
    ],
)
def test_a_text_finds_the_instrument_it_names_first(demo: tuple[Path, str], text: str, family: str) -> None:
    """Through the product: index on record, text centred by the mean of texts. Four of 24 are right."""
    data, _ = demo
    with open_warehouse(data) as warehouse:
        hits = warehouse.search_text(text, 4)
    with (data / "demo" / "truth.csv").open(encoding="utf-8") as file:
        families = {row["title"]: row["instrument"] for row in csv.DictReader(file)}
    found = [families[title] for title in hits["track_name"]]
    assert found[0] == family, found
    assert found.count(family) >= 3, found


def test_the_demo_library_is_found_again_in_the_tables(demo: tuple[Path, str]) -> None:
    """Against what the tracks were made with: keys exact, tempo within 4 % up to an octave."""
    data, _ = demo
    query = """
        SELECT truth.key_tonic || ' ' || truth.key_mode, key_name(key_cos, key_sin, is_minor),
               truth.tempo_bpm AS true_bpm, audio_features.tempo_bpm
        FROM read_csv('{}') AS truth
        JOIN manifest ON audio_path = relative_path
        JOIN audio_features USING (song_id)
    """.format(data / "demo" / "truth.csv")
    rows = json.loads(cli("sql", query, "--data", data, "--format", "json").stdout)
    assert len(rows) == 24
    values = [list(row.values()) for row in rows]
    assert [v[0] for v in values] == [v[1] for v in values]
    for _, _, true_bpm, found_bpm in values:
        octaves = np.log2(found_bpm / true_bpm)
        assert abs(2 ** (octaves - round(octaves)) - 1) < 0.04, (true_bpm, found_bpm)


def test_status_counts_tables_and_published_generation(demo: tuple[Path, str]) -> None:
    done = cli("status", "--data", demo[0])
    assert done.returncode == 0
    words = done.stdout.split()
    assert words[words.index("audio_features") + 1] == "24"
    assert words[words.index("retrieval_index") + 1] == "24"
    assert "warehouse-" in done.stdout


def test_sql_prints_tables_csv_and_json(demo: tuple[Path, str]) -> None:
    query = "SELECT song_id, tempo_bpm FROM audio_features ORDER BY song_id LIMIT 3"
    rows = list(csv.reader(io.StringIO(cli("sql", query, "--data", demo[0], "--format", "csv").stdout)))
    as_json = json.loads(cli("sql", query, "--data", demo[0], "--format", "json", "--live").stdout)
    assert rows[0] == ["song_id", "tempo_bpm"]
    assert [row[0] for row in rows[1:]] == [row["song_id"] for row in as_json]
    assert [float(row[1]) for row in rows[1:]] == [row["tempo_bpm"] for row in as_json]
    assert as_json[0]["song_id"] in cli("sql", query, "--data", demo[0]).stdout


def test_a_wide_table_in_a_pipe_has_a_line_for_each_row(demo: tuple[Path, str]) -> None:
    done = cli("sql", "SELECT * FROM tracks ORDER BY song_id LIMIT 3", "--data", demo[0], COLUMNS="80")
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].split()[:2] == ["song_id", "track_name"]
    assert lines[0].split()[-1] == "year"
    assert "…" not in done.stdout


def test_sql_cannot_change_the_published_tables(demo: tuple[Path, str]) -> None:
    done = cli("sql", "DELETE FROM audio_features", "--data", demo[0])
    assert done.returncode == 1
    assert "read-only" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("sql", "SELECT 1 AS a, 2 AS a", "--format", "json"), 1, "AS"),
        (("sql", "SELECT 'nan'::DOUBLE AS a", "--format", "json"), 1, "--format csv"),
        (("sql", "SELEC 1"), 1, "syntax error"),
        (("run", "--library", "/no/such/folder"), 2, "does not exist"),
        (("run",), 2, "--library"),
        (("status", "--data", "/no/such/data"), 1, "audio-assets run"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(
    demo: tuple[Path, str], arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = cli(*arguments, AUDIO_ASSETS_DATA=str(demo[0]))
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_manifest_is_answered_in_a_sentence(workplace: Workplace) -> None:
    manifest = workplace.data.parent / "m.csv"
    manifest.write_text("song_id,audio_path\na,1.wav\na,2.wav\n")
    done = cli("scan", "--library", workplace.library, "--manifest", manifest, "--data", workplace.data)
    assert done.returncode == 1
    assert "not unique: a" in done.stderr
    assert "Traceback" not in done.stderr
    assert not workplace.data.exists(), "a dry run wrote something"


def test_scan_reports_the_real_manifest_and_writes_nothing(workplace: Workplace, merge_data: Path) -> None:
    manifest = merge_data / "merge_preprocessed.csv"
    done = cli("scan", "--library", workplace.library, "--manifest", manifest, "--data", workplace.data)
    assert done.returncode == 0, done.stderr
    assert "missing  2487" in done.stdout
    assert "A002: missing" in done.stdout
    assert not workplace.data.exists()


def test_what_a_run_is_limited_to_and_what_it_makes_anew(workplace: Workplace) -> None:
    """In this process: what counts is which options reach the pipeline, and ten starts take a minute."""
    options = ("--library", str(workplace.library), "--data", str(workplace.data))
    options = (*options, "--clap-model", workplace.model)

    def invoke(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done.output

    def made() -> dict[str, object]:
        query = "SELECT audio_path, computed_at FROM manifest JOIN audio_features_provenance USING (song_id)"
        return dict(workplace.sql(query))  # type: ignore[arg-type]

    old = [note(workplace.library / "old" / f"{semitone}.wav", semitone) for semitone in range(2)]
    invoke("run", *options)
    first = made()
    note(old[0], 12)
    note(workplace.library / "new" / "a.wav", 5)
    soundfile.write(workplace.library / "new" / "silence.wav", np.zeros(44_100), 44_100)
    invoke("run", *options, "--only-new")
    assert set(made()) == {"old/1.wav", "new/a.wav"}, "the changed track is none that was never analysed"

    waiting = ("--data", str(workplace.data), "--clap-model", workplace.model)
    assert "batch-000001: 1 tracks of audio_features, 1 tracks of clap_embeddings" in invoke(
        "backfill", *waiting, "--dry-run"
    )
    assert "no Dagster daemon runs" in invoke("backfill", *waiting, code=1)
    assert "pending in" in invoke("status", "--data", str(workplace.data))
    invoke("run", *options, "--path", "new")
    assert "old/0.wav" not in made()
    invoke("run", *options, "--path", "old")
    second = made()
    assert second["old/1.wav"] == first["old/1.wav"]
    assert second["old/0.wav"] != first["old/0.wav"]

    assert "2 results are computed again" in invoke("run", *options, "--force", "--path", "new/a.wav")
    third = made()
    assert {path for path in third if third[path] != second[path]} == {"new/a.wav"}
    failed_at = workplace.sql("SELECT failed_at FROM track_failures ORDER BY stage")
    assert "2 failures are looked at again" in invoke("retry", *options, "--failed")
    assert made() == third
    assert workplace.sql("SELECT failed_at FROM track_failures ORDER BY stage") > failed_at
    assert "there is no nowhere" in invoke("run", *options, "--path", "nowhere", code=2)
    assert "contradict" in invoke("run", *options, "--only-new", "--force", code=2)
    assert "0 batches" in invoke("backfill", *waiting)


def test_when_nothing_can_be_analysed_the_exit_code_says_so(workplace: Workplace) -> None:
    soundfile.write(workplace.library / "silence.wav", np.zeros(88_200), 44_100)
    done = cli(
        *("run", "--library", workplace.library, "--data", workplace.data),
        *("--clap-model", workplace.model),
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "silent" in done.stdout
    assert "No track could be analysed" in done.stderr


def test_doctor_analyses_a_chord_and_looks_for_the_model(workplace: Workplace) -> None:
    (dagster_home(workplace.data) / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    healthy = cli("doctor", "--data", workplace.data, "--clap-model", workplace.model)
    assert "note Dagster settings" in healthy.stdout, "settings of an older version are passed over"
    assert healthy.returncode == 0, healthy.stdout
    assert "found 12" in healthy.stdout
    assert "as the reference's" in healthy.stdout
    missing = cli(
        "doctor", "--data", workplace.data, "--clap-model", "laion/larger_clap_music", HF_HOME="/nowhere"
    )
    assert missing.returncode == 0, "a model that was not pulled yet is no fault of the machine"
    assert "note CLAP model: The CLAP model laion/larger_clap_music" in missing.stdout
    assert "audio-assets model pull" in missing.stdout


def test_help_lists_every_command() -> None:
    printed = cli("--help").stdout
    looking = ("scan", "status", "sql", "similar", "search", "ui", "doctor", "versions")
    for command in (*looking, "run", "retry", "backfill", "demo", "model", "rollback", "maintain"):
        assert command in printed
    assert "Exit codes" in printed
