"""The Dagster UI as a person uses it: a browser clicks from an empty data folder to the published tables."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright
from programs import needs
from servers import processes_over, wait_until_it_answers

from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint

CHROMIUM = shutil.which("chromium")
BROWSER_OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Two tracks at first, and two that come later.
N_FIRST, N_TRACKS = 2, 4
ANALYSED = ("audio_features", "clap_embeddings")
# Generous, for a machine that does other things as well.
START_S = 180
STOP_S = 60
RUN_MS = 300_000
BACKFILL_MS = 2 * RUN_MS
CLICK_MS = 60_000

Camera = Callable[[str], None]

#: Read at import: no variable of the developer's outlives the start of the session.
SCREENSHOTS = os.environ.get("AUDIO_ASSETS_SCREENSHOTS")

pytestmark = needs(None if CHROMIUM else "no chromium binary on this machine")


@pytest.fixture
def data(tmp_path) -> Path:
    """A data folder that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def server_log(tmp_path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def library(tmp_path, tracks) -> Path:
    """Two tracks, and a file that is none."""
    library = tmp_path / "library"
    library.mkdir()
    for track in list(tracks.values())[:N_FIRST]:
        shutil.copy(track, library)
    (library / "notes.mp3").write_bytes(b"no music at all" * 100)
    return library


@pytest.fixture
def url(tmp_path, library, data, server_log) -> Iterator[str]:
    """Address of ``audio-assets ui``; the server is gone afterwards, with all it started."""
    model = copy_demo_checkpoint(tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    command = [Path(sys.executable).with_name("audio-assets"), "ui", "--library", library, "--data", data]
    with serving(
        [*map(str, command), "--clap-model", str(model), "--port", port], data, server_log
    ) as server:
        wait_until_it_answers(f"http://127.0.0.1:{port}/server_info", server, server_log, START_S)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def serving(command: list[str], data: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        # In a background job SIGINT is ignored, children inherit that, and Dagster could not be stopped.
        server = subprocess.Popen(
            command,
            cwd=data.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield server
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGINT)
        left = processes_left(server, data)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    assert not left, f"still running {STOP_S} s after SIGINT: {left}"


def processes_left(server: subprocess.Popen[bytes], data: Path) -> list[int]:
    """Give code servers, daemon and run workers time to end; return those that did not."""
    deadline = time.monotonic() + STOP_S
    while (server.poll() is None or processes_over(data)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return processes_over(data)


@pytest.fixture
def page(url, tmp_path) -> Iterator[Page]:
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "browser",
            executable_path=CHROMIUM,
            args=BROWSER_OPTIONS,
            base_url=url,
            viewport={"width": 1600, "height": 1000},
        )
        context.set_default_timeout(CLICK_MS)
        expect.set_options(timeout=CLICK_MS)
        (page,) = context.pages
        # Dagster asks a first visitor for an e-mail address.
        page.add_locator_handler(page.get_by_role("button", name="Skip"), lambda button: button.click())
        yield page
        context.close()


@pytest.fixture
def photograph(page, tmp_path) -> Camera:
    """Take a screenshot; AUDIO_ASSETS_SCREENSHOTS names a folder to keep them in."""
    folder = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: page.screenshot(path=folder / f"{name}.png") and None


def test_everything_is_computed_and_inspected_by_clicking(
    page, library, tracks, data, server_log, photograph
):
    materialize_from_the_graph(page, "track_manifest", photograph)
    materialize_a_batch(page, "batch-000001", photograph)
    for track in list(tracks.values())[N_FIRST:N_TRACKS]:
        shutil.copy(track, library)
    materialize_from_its_page(page, "track_manifest")
    backfill_all_batches(page, photograph)
    materialize_downstream_of(page, "clap_embeddings_normalized", photograph)

    tables = ("audio_features", "clap_embeddings", "clap_embeddings_normalized", "retrieval_index")
    assert {name: len(published(data, name)) for name in tables} == dict.fromkeys(tables, N_TRACKS)
    look_at_features(page, photograph)
    look_at_a_failed_check(page, photograph)
    look_at_plots_over_time(page, photograph)
    for asset, pictures in (
        ("clap_embeddings_normalized", 1),
        ("retrieval_index", 1),
        ("warehouse_tables", 2),
    ):
        look_at_pictures(page, asset, pictures, photograph)
    assert "Traceback" not in server_log.read_text()


def materialize_from_the_graph(page: Page, asset: str, photograph: Camera) -> None:
    page.goto("/")
    page.get_by_role("link", name="Lineage").click()
    page.get_by_placeholder("Jump to").fill(asset)
    page.keyboard.press("Enter")
    page.locator("svg").get_by_text(asset, exact=True).click()
    expect(page.get_by_text("No materializations found")).to_be_visible()
    photograph("1-graph-before")
    page.get_by_role("button", name="Materialize selected").click()
    follow_the_run(page)
    photograph("2-manifest-run")


def materialize_from_its_page(page: Page, asset: str) -> None:
    page.goto(f"/assets/{asset}")
    page.get_by_role("button", name=re.compile("Materialize$")).click()
    follow_the_run(page)


def materialize_a_batch(page: Page, batch: str, photograph: Camera) -> None:
    dialog = open_partition_dialog(page)
    dialog.get_by_text("Select a partition").click()
    page.get_by_text(batch, exact=True).first.click()
    page.keyboard.press("Escape")
    photograph("3-partition-dialog")
    dialog.get_by_role("button", name="Launch 1 run").click()
    follow_the_run(page)
    photograph("4-batch-run")
    page.goto(f"{page.url.partition('?')[0]}?logs=tracks%2Fs")
    progress = re.compile(rf"{batch} features: {N_FIRST}/{N_FIRST} \(100%\), [\d.]+ tracks/s, 0 s to go")
    expect(page.get_by_text(progress).first).to_be_visible()
    photograph("4-batch-progress")


def backfill_all_batches(page: Page, photograph: Camera) -> None:
    dialog = open_partition_dialog(page)
    dialog.get_by_role("button", name="All", exact=True).click()
    expect(dialog.get_by_text("2 partitions", exact=True)).to_be_visible()
    photograph("5-backfill-dialog")
    dialog.get_by_role("button", name="Launch backfill").click()
    page.get_by_role("link", name="View", exact=True).click()
    expect(page.get_by_text("100% completed")).to_have_count(len(ANALYSED), timeout=BACKFILL_MS)
    # The head of a column, and the state.
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(2, timeout=RUN_MS)
    photograph("6-backfill")


def open_partition_dialog(page: Page) -> Locator:
    page.goto("/assets")
    for asset in ANALYSED:
        page.locator("label", has=page.get_by_test_id(f"checkbox-{asset}")).click()
    page.get_by_role("button", name="Materialize selected").click()
    return page.get_by_role("dialog")


def materialize_downstream_of(page: Page, asset: str, photograph: Camera) -> None:
    page.goto("/asset-groups")
    page.locator(".CodeMirror").click()
    page.keyboard.type(f'key:"{asset}"+ and not group:"map"')
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{asset}**")
    page.keyboard.press("Escape")
    photograph("7-downstream")
    page.get_by_role("button", name="Materialize all").click()
    follow_the_run(page)
    photograph("8-downstream-run")


def follow_the_run(page: Page) -> None:
    """From the notice "Launched run ... View" to the end of the run."""
    page.get_by_role("link", name="View", exact=True).click()
    status = page.get_by_text(re.compile(r"^(Success|Failure|Canceled)$")).first
    status.wait_for(timeout=RUN_MS)
    assert status.inner_text() == "Success", page.locator("body").inner_text()


def look_at_features(page: Page, photograph: Camera) -> None:
    page.goto("/assets")
    page.locator("a", has_text="audio_features").first.click()
    row = page.get_by_role("row").filter(has_text="tempo_bpm")
    expect(row.first).to_contain_text("[BPM]")
    photograph("9-features-columns")
    page.get_by_role("tab", name="Partitions").click()
    page.get_by_text("batch-000001").first.click()
    # The backfill found the batch done; how fast it was computed is on its first materialisation.
    for name, value in (("tracks_analysed", N_FIRST), ("tracks_failed", 0), ("tracks_reused", N_FIRST)):
        expect(page.get_by_role("row").filter(has_text=name)).to_contain_text(str(value))
    expect(page.get_by_role("row").filter(has_text="query").first).to_contain_text("audio-assets sql --live")
    photograph("10-features-batch")
    page.get_by_role("tab", name="Checks").click()
    page.get_by_text("features_finite").first.click()
    expect(page.get_by_text("Passed", exact=True)).to_be_visible()
    photograph("11-features-check")


def look_at_a_failed_check(page: Page, photograph: Camera) -> None:
    """It says which track, and what to do."""
    page.goto("/assets/track_manifest?view=checks&checkDetail=manifest_tracks_available")
    described = page.get_by_text(
        re.compile(r"1 of 5 tracks cannot be analysed: notes-\w+\. .*Mend or remove")
    )
    expect(described.first).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="wrong_tracks").first).to_contain_text("notes-")
    photograph("12-failed-check")


def look_at_plots_over_time(page: Page, photograph: Camera) -> None:
    page.goto("/assets/clap_embeddings_normalized")
    page.get_by_role("button", name="Plots").click()
    expect(page.get_by_text("mean_pairwise_cosine_centred", exact=True).first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    photograph("13-plots-over-time")
    page.get_by_role("button", name=re.compile("Table$")).click()  # the choice outlives the page


def look_at_pictures(page: Page, asset: str, pictures: int, photograph: Camera) -> None:
    page.goto(f"/assets/{asset}")
    shown = page.get_by_text("[Show Markdown]")
    expect(shown).to_have_count(pictures)
    for number in range(pictures):
        shown.nth(number).click()
        image = page.get_by_role("dialog").locator("img[src^='data:image/png']")
        expect(image).to_be_visible()
        assert image.evaluate("image => image.naturalWidth") > 0, "the browser could draw it"
        photograph(f"14-{asset}-{number}")
        page.get_by_role("button", name="Close").click()
        expect(page.get_by_role("dialog")).to_have_count(0)


def published(data: Path, table: str) -> list[tuple[object, ...]]:
    with duckdb.connect((data / "warehouse.duckdb").resolve(), read_only=True) as connection:
        return connection.table(table).fetchall()
