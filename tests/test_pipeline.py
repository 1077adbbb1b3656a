"""The pipeline as a user meets it: what is computed, what is kept, what is recorded as failed."""

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import Workplace
from safetensors.numpy import load_file, save_file

from audio_assets.corpus import RawCorpus, RawSurvey, survey
from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
from audio_assets.features import FEATURE_NAMES
from audio_assets.pipeline import Pipeline
from resources.warehouse import UnknownBatchError, Warehouse


@pytest.fixture
def four_tracks(workplace: Workplace, tracks: dict[str, Path]) -> Workplace:
    """A workplace over four tracks, one of each format."""
    by_suffix = {path.suffix: path for path in tracks.values()}
    for path in by_suffix.values():
        workplace.add(path)
    assert {path.suffix for path in workplace.library.iterdir()} == {".wav", ".flac", ".ogg", ".mp3"}
    return workplace


def computed(workplace: Workplace) -> dict[str, object]:
    """When each feature row was made."""
    return dict(workplace.sql("SELECT song_id, computed_at FROM audio_features_provenance"))  # type: ignore[arg-type]


def test_only_what_is_new_or_changed_is_computed(four_tracks: Workplace, tracks: dict[str, Path]) -> None:
    report = four_tracks.run()
    assert report.succeeded, report
    first = computed(four_tracks)
    generation = (four_tracks.data / "warehouse.duckdb").readlink()
    assert len(first) == 4

    assert four_tracks.run().succeeded
    assert computed(four_tracks) == first
    assert (four_tracks.data / "warehouse.duckdb").readlink() == generation, (
        "nothing new, yet published again"
    )

    wav, flac, ogg, _ = (next(four_tracks.library.glob(f"*{s}")) for s in (".wav", ".flac", ".ogg", ".mp3"))
    unused = next(path for name, path in tracks.items() if not (four_tracks.library / name).exists())
    ids = dict(four_tracks.sql("SELECT audio_path, song_id FROM manifest"))
    wav.write_bytes(
        next(p for p in tracks.values() if p.suffix == ".wav" and p.name != wav.name).read_bytes()
    )
    flac.rename(four_tracks.library / "renamed.flac")
    ogg.unlink()
    added = four_tracks.add(unused, "albums/new" + unused.suffix)

    assert four_tracks.run().succeeded
    second = computed(four_tracks)
    ids_now = dict(four_tracks.sql("SELECT audio_path, song_id FROM manifest"))
    assert second[ids[wav.name]] > first[ids[wav.name]], "a changed file was not computed again"
    assert ids_now["renamed.flac"] == ids[flac.name], "a moved file lost its id"
    assert second[ids[flac.name]] == first[ids[flac.name]], "a moved file was computed again"
    assert ids[ogg.name] not in second
    assert ids_now[str(added.relative_to(four_tracks.library))] in second
    assert len(second) == 4
    for table in ("clap_embeddings", "clap_embeddings_normalized", "retrieval_index"):
        assert {row[0] for row in four_tracks.sql(f"SELECT song_id FROM {table}")} == set(second)
    assert [row[0] for row in four_tracks.sql("SELECT batch FROM batches ORDER BY 1")] == [
        "batch-000001",
        "batch-000002",
    ]


def test_a_file_that_moves_between_look_and_analysis_is_analysed_where_it_went(
    four_tracks: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = next(four_tracks.library.glob("*.flac"))
    look = Pipeline.pending

    def move_first(pipeline: Pipeline, *arguments: object) -> object:
        moved.rename(moved.with_name("moved.flac"))
        return look(pipeline, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "pending", move_first)
        four_tracks.run()
    failures = "SELECT stage, code FROM track_failures ORDER BY 1"
    assert four_tracks.sql(failures) == [("embedding", "missing"), ("features", "missing")]

    assert four_tracks.run().succeeded
    assert four_tracks.sql(failures) == []
    assert len(computed(four_tracks)) == 4


def test_exported_files_are_those_that_notebooks_read(four_tracks: Workplace) -> None:
    manifest = four_tracks.data.parent / "tracks.csv"
    names = sorted((path.name for path in four_tracks.library.iterdir()), reverse=True)
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = [("song_id", "audio_path"), *((f"A{9 - i:03}", name) for i, name in enumerate(names))]
        csv.writer(file).writerows(rows)
    assert four_tracks.run(manifest).succeeded
    in_order = [row[0] for row in rows[1:]]
    exports = four_tracks.data / "exports"

    frame = pd.read_csv(exports / "merge_audio_features.csv")
    assert list(frame.columns) == ["song_id", *FEATURE_NAMES]
    assert list(frame["song_id"]) == in_order
    stored = dict(four_tracks.sql("SELECT song_id, tempo_bpm FROM audio_features"))
    assert dict(zip(frame["song_id"], frame["tempo_bpm"], strict=True)) == stored, "CSV lost digits"

    raw, normalized, index = (
        np.load(exports / "embeddings" / f"clap_{name}.npz", allow_pickle=False)
        for name in ("embeddings", "embeddings_normalized", "index")
    )
    for file in (raw, normalized, index):
        assert file["track_ids"].tolist() == in_order
        assert file["track_ids"].dtype.kind == "U"
        assert file["embeddings"].dtype == np.float32
        assert file["embeddings"].shape == (4, 512)
    assert index["mean"].dtype == np.float32
    assert index["mean"].shape == (512,)
    np.testing.assert_allclose(index["mean"], raw["embeddings"].mean(axis=0), atol=1e-6)
    centred = raw["embeddings"] - index["mean"]
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(index["embeddings"], expected, atol=1e-5)
    np.testing.assert_array_equal(index["embeddings"], normalized["embeddings"])
    query = raw["embeddings"][2] - index["mean"]
    scores = index["embeddings"] @ (query / np.linalg.norm(query))
    assert scores.argmax() == 2
    assert scores[2] == pytest.approx(1, abs=1e-6)


def test_each_kind_of_bad_file_is_a_recorded_failure_and_its_neighbours_are_analysed(
    workplace: Workplace, tracks: dict[str, Path]
) -> None:
    wavs = [path for path in tracks.values() if path.suffix == ".wav"]
    good = workplace.add(wavs[0], "good.wav")
    workplace.add(wavs[1], "neighbour.wav")
    samples, rate_hz = soundfile.read(good)
    root = workplace.library
    (root / "empty.wav").write_bytes(b"")
    (root / "text.mp3").write_text("not audio at all\n" * 100)
    (root / "truncated.wav").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    soundfile.write(root / "silent.flac", np.zeros(5 * rate_hz), rate_hz)
    soundfile.write(root / "short.wav", samples[: rate_hz // 10], rate_hz)
    soundfile.write(root / "long.flac", np.tile(samples, (3, 1)), rate_hz)
    soundfile.write(root / "one_hertz.wav", samples[:100], 1)
    soundfile.write(root / "wide.wav", np.zeros((200, 1024)), 44_100)
    poisoned = samples.astype(np.float32)
    poisoned[1000:1010] = np.nan
    soundfile.write(root / "nan.wav", poisoned, rate_hz, subtype="FLOAT")
    soundfile.write(root / "loud.wav", samples * 1e30, rate_hz, subtype="FLOAT")
    outside = root.parent / "outside.wav"
    outside.write_bytes(good.read_bytes())
    (root / "link.wav").symlink_to(outside)

    report = workplace.run(max_duration_s=30)
    assert not report.failed_jobs
    codes: dict[str, set[object]] = {}
    for name, code in workplace.sql(
        "SELECT audio_path, code FROM track_failures JOIN manifest USING (song_id)"
    ):
        codes.setdefault(str(name), set()).add(code)
    assert codes == {
        "empty.wav": {"empty_file"},
        "text.mp3": {"undecodable"},
        "truncated.wav": {"truncated"},
        "silent.flac": {"silent"},
        "short.wav": {"too_short"},
        "long.flac": {"too_long"},
        "one_hertz.wav": {"absurd_sample_rate"},
        "wide.wav": {"absurd_channels"},
        "nan.wav": {"non_finite_audio"},
        "loud.wav": {"absurd_amplitude"},
        "link.wav": {"outside_root"},
    }
    for table in ("audio_features", "clap_embeddings", "retrieval_index"):
        analysed = workplace.sql(f"SELECT file_path FROM {table} JOIN manifest USING (song_id) ORDER BY 1")
        assert analysed == [("good.wav",), ("neighbour.wav",)], table
    rows = workplace.sql(
        "SELECT message, content_sha256, failed_at FROM track_failures WHERE code = 'silent'"
    )
    assert rows
    assert all(all(row) for row in rows)


def test_a_library_of_one_track_says_why_it_cannot_be_searched(
    workplace: Workplace, tracks: dict[str, Path]
) -> None:
    workplace.add(next(iter(tracks.values())))
    report = workplace.run()
    (check,) = (c for c in report.failed_checks if c.check_name == "normalized_searchable")
    assert not report.errors
    assert "at least two" in (check.description or "")
    assert workplace.sql("SELECT stage, code FROM track_failures") == [("normalisation", "zero_norm")]
    assert workplace.sql("SELECT count(*) FROM audio_features") == [(1,)]


def test_a_batch_in_which_nothing_could_be_analysed_fails_its_check(workplace: Workplace) -> None:
    for name in ("a.wav", "b.wav"):
        soundfile.write(workplace.library / name, np.zeros(88_200), 44_100)
    report = workplace.run()
    failed = {check.check_name: check for check in report.failed_checks}
    assert "none of 2 tracks could be analysed (silent)" in (failed["features_analysed"].description or "")
    assert "embeddings_analysed" in failed
    assert failed["features_analysed"].partition == "batch-000001"
    assert not report.succeeded


def test_without_a_model_the_features_are_still_published(four_tracks: Workplace) -> None:
    without = Workplace(four_tracks.library, four_tracks.data, "laion/larger_clap_music")
    report = without.run()
    assert len(without.sql("SELECT song_id FROM audio_features")) == 4
    assert len(report.failed_jobs) == 1
    assert "audio-assets model pull" in report.failed_jobs[0]
    assert not report.succeeded


def test_the_exported_columns_are_those_of_the_real_table(merge_data: Path) -> None:
    real = pd.read_csv(merge_data / "merge_audio_features.csv", nrows=1)
    assert list(real.columns) == ["song_id", *FEATURE_NAMES]


def test_the_real_manifest_without_its_audio_is_reported_track_by_track(
    workplace: Workplace, merge_data: Path
) -> None:
    report = workplace.run(merge_data / "merge_preprocessed.csv")
    assert not report.failed_jobs
    (check,) = (c for c in report.failed_checks if c.check_name == "manifest_tracks_available")
    assert "2487 of 2487" in (check.description or "")
    missing = workplace.sql(
        "SELECT song_id FROM track_failures WHERE code = 'missing' AND stage = 'manifest'"
    )
    reference = pd.read_csv(merge_data / "merge_preprocessed.csv", dtype={"song_id": str})
    assert {row[0] for row in missing} == set(reference["song_id"])
    carried = workplace.sql(
        "SELECT count(*), avg(arousal), count(duration), count(DISTINCT quadrant) FROM manifest"
    )[0]
    assert carried == pytest.approx((2487, reference["arousal"].mean(), 2487 - 96, 4))
    assert workplace.sql("SELECT count(*) FROM audio_features") == [(0,)]


def test_a_library_that_vanishes_keeps_its_tables(four_tracks: Workplace) -> None:
    four_tracks.run()
    for path in four_tracks.library.iterdir():
        path.unlink()
    report = four_tracks.run()
    assert "vanished at once" in report.failed_jobs[0]
    assert len(four_tracks.sql("SELECT song_id FROM audio_features")) == 4


def test_an_mp3_that_states_no_length_is_measured_all_the_same(
    workplace: Workplace, tracks: dict[str, Path]
) -> None:
    """Cut off the front, with the Xing header: what is left is a stream of frames."""
    source = next(path for path in tracks.values() if path.suffix == ".mp3")
    content = source.read_bytes()
    whole_s = soundfile.info(source).duration
    start = content.index(b"\xff\xfb", len(content) // 4)
    (workplace.library / "stream.mp3").write_bytes(content[start:])
    workplace.add(source)
    workplace.run()
    measured = dict(workplace.sql("SELECT audio_path, duration_s FROM manifest"))
    decoded = dict(
        workplace.sql(
            "SELECT audio_path, decoded_duration_s FROM manifest "
            "JOIN audio_features_provenance USING (song_id)"
        )
    )
    assert measured[source.name] == pytest.approx(whole_s, abs=0.1)
    assert measured["stream.mp3"] == pytest.approx(decoded["stream.mp3"], abs=0.1)


def test_a_batch_that_no_track_is_in_is_refused(four_tracks: Workplace) -> None:
    """Dagster lets anyone add any partition key by hand."""
    four_tracks.run()
    warehouse = Warehouse(data_dir=str(four_tracks.data))
    with pytest.raises(UnknownBatchError, match="batch-000077"):
        warehouse.live_tracks_of("batch-000077")


def test_two_files_that_change_places_are_hashed_again(workplace: Workplace, tracks: dict[str, Path]) -> None:
    """Of one size and one modification time, as unpacked excerpts are."""
    wav = next(path for path in tracks.values() if path.suffix == ".wav")
    samples, rate_hz = soundfile.read(wav)
    for name, gain in (("a.wav", 1.0), ("b.wav", 0.5)):
        soundfile.write(workplace.library / name, gain * samples, rate_hz)
        os.utime(workplace.library / name, (1e9, 1e9))
    manifest = workplace.data.parent / "m.csv"
    manifest.write_text("song_id,audio_path\nA,a.wav\nB,b.wav\n")
    workplace.run(manifest)
    query = "SELECT song_id, content_sha256, mfcc_1_mean FROM manifest JOIN audio_features USING (song_id)"
    before = {row[0]: row[1:] for row in workplace.sql(query)}
    manifest.write_text("song_id,audio_path\nA,b.wav\nB,a.wav\n")
    workplace.run(manifest)
    after = {row[0]: row[1:] for row in workplace.sql(query)}
    assert after == {"A": before["B"], "B": before["A"]}


def with_other_weights(checkpoint: Path) -> Path:
    """Make another model of a checkpoint."""
    weights = load_file(checkpoint / "model.safetensors")
    weights["audio_projection.linear2.bias"] += 0.1
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    return checkpoint


def test_vectors_of_two_models_are_never_mixed(
    four_tracks: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new model, and only some of the batches made with it."""
    four_tracks.run(batch_size=2)
    other = with_other_weights(copy_demo_checkpoint(tmp_path / "other"))
    changed = Workplace(four_tracks.library, four_tracks.data, str(other))
    whole = Pipeline.pending
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "pending", lambda self, *args: whole(self, *args)[:1])
        changed.run(batch_size=2)
    weights = changed.sql("SELECT count(*), count(DISTINCT weights_sha256) FROM clap_embeddings")
    assert weights == [(2, 1)]
    exported = np.load(four_tracks.data / "exports/embeddings/clap_embeddings.npz", allow_pickle=False)
    assert len(exported["track_ids"]) == 2
    assert changed.sql("SELECT sum(n_live - n_embeddings - n_embedding_failures) FROM batches") == [(2,)]
    changed.run(batch_size=2)
    weights = changed.sql("SELECT count(*), count(DISTINCT weights_sha256) FROM clap_embeddings")
    assert weights == [(4, 1)]


def off_the_mean(raw: RawCorpus, keep: Callable[..., None]) -> RawSurvey:
    found = survey(raw, keep)
    return replace(found, mean=found.mean + 1e-4)


def test_what_failed_its_checks_is_built_again_and_not_published(
    four_tracks: Workplace, tracks: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    four_tracks.run()
    generation = (four_tracks.data / "warehouse.duckdb").readlink()
    four_tracks.add(next(path for name, path in tracks.items() if not (four_tracks.library / name).exists()))
    with monkeypatch.context() as patch:
        patch.setattr("audio_assets.corpus.centring.survey", off_the_mean)
        for _ in range(2):
            report = four_tracks.run()
            assert "index_mean_is_raw_mean" in {check.check_name for check in report.errors}
            assert (four_tracks.data / "warehouse.duckdb").readlink() == generation
    assert four_tracks.run().succeeded
    assert four_tracks.sql("SELECT count(*) FROM retrieval_index") == [(5,)]


def test_exports_that_failed_are_made_by_the_next_run(
    four_tracks: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("audio_assets.warehouse.exports.write_npz", full)
        assert not four_tracks.run().succeeded
    assert four_tracks.run().succeeded
    assert (four_tracks.data / "exports/embeddings/clap_index.npz").exists()


def test_when_the_last_usable_track_goes_bad_the_tables_are_emptied(
    workplace: Workplace, tracks: dict[str, Path]
) -> None:
    paths = [workplace.add(path) for path in list(tracks.values())[:2]]
    workplace.run()
    for path in paths:
        path.write_text("no music any more")
    report = workplace.run()
    assert not report.failed_jobs
    for table in ("audio_features", "clap_embeddings", "retrieval_index", "retrieval_index_info"):
        assert workplace.sql(f"SELECT count(*) FROM {table}") == [(0,)], table
