"""The Dagster UI as a person uses it: a browser clicks from an empty data folder to the published tables."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import Page, expect, sync_playwright
from programs import needs

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
N_TRACKS = 4
START_S = 90
STOP_S = 30
RUN_MS = 120_000
CLICK_MS = 30_000

Camera = Callable[[str], None]

pytestmark = needs(None if CHROMIUM else "no chromium binary on this machine")


@pytest.fixture
def data(tmp_path) -> Path:
    """A data folder that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def server_log(tmp_path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def url(tmp_path, demo_library, data, server_log) -> Iterator[str]:
    """Address of ``audio-assets ui`` over four tracks; the server is gone afterwards, with all it started."""
    library = tmp_path / "library"
    library.mkdir()
    for track in sorted(path for path in (demo_library / "audio").rglob("*") if path.is_file())[:N_TRACKS]:
        shutil.copy(track, library)
    model = copy_demo_checkpoint(tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    command = [Path(sys.executable).with_name("audio-assets"), "ui", "--library", library, "--data", data]
    with serving(
        [*map(str, command), "--clap-model", str(model), "--port", port], data, server_log
    ) as server:
        wait_until_it_answers(f"http://127.0.0.1:{port}/server_info", server, server_log)
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


def processes_over(data: Path) -> list[int]:
    """Find processes whose environment names the data folder, as that of all Dagster processes does."""
    mark = f"AUDIO_ASSETS_DATA={data}\0".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environment.read_bytes():
                found.append(int(environment.parent.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or somebody else's
    return found


def wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
    pytest.fail(f"the UI did not start:\n{log.read_text()[-3000:]}")


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
        (page,) = context.pages
        # Dagster asks a first visitor for an e-mail address.
        page.add_locator_handler(page.get_by_role("button", name="Skip"), lambda button: button.click())
        yield page
        context.close()


@pytest.fixture
def photograph(page, tmp_path) -> Camera:
    """Take a screenshot; AUDIO_ASSETS_SCREENSHOTS names a folder to keep them in."""
    folder = Path(os.environ.get("AUDIO_ASSETS_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: page.screenshot(path=folder / f"{name}.png") and None


def test_everything_is_computed_and_inspected_by_clicking(page, data, server_log, photograph):
    materialize_from_the_graph(page, "track_manifest", photograph)
    materialize_a_batch(page, ["audio_features", "clap_embeddings"], "batch-000001", photograph)
    materialize_downstream_of(page, "clap_embeddings_normalized", photograph)

    assert published_rows(data) == {
        "audio_features": N_TRACKS,
        "clap_embeddings": N_TRACKS,
        "clap_embeddings_normalized": N_TRACKS,
        "retrieval_index": N_TRACKS,
    }
    look_at_features(page, photograph)
    look_at_normalized_embeddings(page, photograph)
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


def materialize_a_batch(page: Page, assets: list[str], batch: str, photograph: Camera) -> None:
    page.goto("/assets")
    for asset in assets:
        page.locator("label", has=page.get_by_test_id(f"checkbox-{asset}")).click()
    page.get_by_role("button", name="Materialize selected").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Select a partition").click()
    page.get_by_text(batch, exact=True).first.click()
    page.keyboard.press("Escape")
    photograph("3-partition-dialog")
    dialog.get_by_role("button", name="Launch 1 run").click()
    follow_the_run(page)
    photograph("4-batch-run")


def materialize_downstream_of(page: Page, asset: str, photograph: Camera) -> None:
    page.goto("/asset-groups")
    page.locator(".CodeMirror").click()
    page.keyboard.type(f'key:"{asset}"+')
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{asset}**")
    page.keyboard.press("Escape")
    photograph("5-downstream")
    page.get_by_role("button", name="Materialize all").click()
    follow_the_run(page)
    photograph("6-downstream-run")


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
    photograph("7-features-columns")
    page.get_by_role("tab", name="Partitions").click()
    page.get_by_text("batch-000001").first.click()
    computed = page.get_by_role("row").filter(has_text="tracks_computed")
    expect(computed).to_contain_text(str(N_TRACKS))
    photograph("8-features-batch")
    page.get_by_role("tab", name="Checks").click()
    page.get_by_text("features_finite").first.click()
    expect(page.get_by_text("Passed", exact=True)).to_be_visible()
    photograph("9-features-check")


def look_at_normalized_embeddings(page: Page, photograph: Camera) -> None:
    page.goto("/assets/clap_embeddings_normalized")
    page.get_by_role("button", name="Plots").click()
    expect(page.get_by_text("mean_pairwise_cosine_centred", exact=True).first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    photograph("10-normalized-plots")


def published_rows(data: Path) -> dict[str, int]:
    tables = ("audio_features", "clap_embeddings", "clap_embeddings_normalized", "retrieval_index")
    with duckdb.connect((data / "warehouse.duckdb").resolve(), read_only=True) as connection:
        return {name: connection.table(name).shape[0] for name in tables}
