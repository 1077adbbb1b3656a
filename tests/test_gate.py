"""What has not passed its blocking checks is never built on, whoever asks, and heals by itself."""

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from commands import cli
from conftest import Workplace
from test_automation import NOON, Site
from test_unattended import note

from audio_assets.features import FEATURES
from audio_assets.gate import unproven
from audio_assets.outstanding import outstanding
from audio_assets.pipeline import RunReport, open_instance

FEATURE_BATCH = {("audio_features", "batch-000001")}


@pytest.fixture
def site(workplace: Workplace) -> Iterator[Site]:
    for semitone in range(2):
        note(workplace.library / f"{semitone}.wav", semitone)
    with open_instance(workplace.data) as instance:
        yield Site(workplace, instance, batch_size=256)


def run_with_a_failing_check(site: Site, monkeypatch: pytest.MonkeyPatch) -> RunReport:
    centroid = next(feature for feature in FEATURES if feature.name == "spectral_centroid_mean")
    with monkeypatch.context() as patch:
        patch.setattr("audio_assets.checks.FEATURES", [replace(centroid, upper=-1.0)])
        return site.workplace.run()


def press_materialise_on_the_tables(site: Site) -> bool:
    """As a person may in the UI, whatever the automation thinks."""
    job = site.defs.resolve_job_def("rebuild_tables")
    return bool(job.execute_in_process(instance=site.instance, raise_on_error=False).success)


def test_a_batch_that_fails_a_blocking_check_is_in_no_table_until_it_passes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run_with_a_failing_check(site, monkeypatch)
    assert "for audio_features of batch-000001" in " ".join(report.failed_jobs)
    assert "Held back" in str(site.tick("tables_to_rebuild").skip_message)
    assert "Held back: a blocking check failed" in cli("status", "--data", site.workplace.data).stdout
    assert not press_materialise_on_the_tables(site)
    assert not (site.workplace.data / "warehouse.duckdb").exists()

    assert "1 of audio_features" in site.scheduled(NOON), "the batch is not checked again"
    site.instance.add_dynamic_partitions("track_batch", ["Batch_1"])  # as anybody may in the UI
    press = site.defs.resolve_job_def("analyse_batch").execute_in_process
    assert not press(instance=site.instance, partition_key="Batch_1", raise_on_error=False).success
    assert unproven(site.instance, site.warehouse.record) == FEATURE_BATCH, "a partition that can be no batch"
    (work,) = outstanding(site.instance, site.warehouse, site.resources["clap_model"]).work
    assert work.tracks == [], "something was to be computed"
    site.finish_backfills()
    assert site.workplace.run().succeeded
    assert site.workplace.sql("SELECT count(*) FROM audio_features") == [(2,)]
    assert "as it is" in str(site.tick("tables_to_rebuild").skip_message)


def test_rows_that_were_written_and_never_checked_are_in_no_table(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between a batch's file and the report of it; and after Dagster's run records were lost."""
    assert site.workplace.run().succeeded
    published = (site.workplace.data / "warehouse.duckdb").readlink()
    note(site.workplace.library / "0.wav", 9)
    with monkeypatch.context() as patch:
        patch.setattr("audio_assets.assets.features.written", lambda *_: 1 / 0)
        assert not site.workplace.run().succeeded
    assert unproven(site.instance, site.warehouse.record) == FEATURE_BATCH
    assert not press_materialise_on_the_tables(site)
    assert (site.workplace.data / "warehouse.duckdb").readlink() == published
    assert site.workplace.run().succeeded
    assert unproven(site.instance, site.warehouse.record) == set()

    shutil.rmtree(site.workplace.data / "dagster")
    with open_instance(site.workplace.data) as instance:
        assert len(unproven(instance, site.warehouse.record)) == 2
    made = site.workplace.sql("SELECT computed_at FROM audio_features_provenance ORDER BY 1")
    assert site.workplace.run().succeeded
    assert site.workplace.sql("SELECT computed_at FROM audio_features_provenance ORDER BY 1") == made


def test_a_run_that_failed_before_it_wrote_holds_nothing_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And neither does a blocking check that warns, of which Dagster blocks nothing."""
    with monkeypatch.context() as patch:
        patch.setattr("audio_assets.checks._REPEAT_TOLERANCE", -1.0)
        report = site.workplace.run()
    assert [check.check_name for check in report.failed_checks if "repeat" in check.check_name]
    assert unproven(site.instance, site.warehouse.record) == set()
    note(site.workplace.library / "0.wav", 9)
    with monkeypatch.context() as patch:
        patch.setattr("audio_assets.assets.features.complete_batch", lambda *_: 1 / 0)
        report = site.workplace.run()
    assert "analyse_batch" in " ".join(report.failed_jobs)
    assert unproven(site.instance, site.warehouse.record) == set()
    assert site.workplace.sql("SELECT count(*) FROM clap_embeddings") == [(2,)]
    assert site.workplace.sql("SELECT count(*) FROM audio_features") == [(1,)], "of the other track's bytes"
