"""The map: coordinates that can be trusted and repeated, the table it is drawn from, and the page itself."""

import io
import shutil
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from playwright.sync_api import expect, sync_playwright
from programs import needs
from servers import wait_until_it_answers
from synthetic_collection import publish_collection, title_of
from typer.testing import CliRunner

from audio_assets import projection
from audio_assets.assets import embedding_projection
from audio_assets.audio import AudioLimits
from audio_assets.builds import due
from audio_assets.cli import app
from audio_assets.corpus import load_index
from audio_assets.library import Entry
from audio_assets.map_table import is_projected, projection_path
from audio_assets.pipeline import open_instance
from audio_assets.previews import EXCERPT_S, mp3_excerpt
from audio_assets.projection import MapExtraMissingError, project, trustworthiness
from resources.warehouse import Warehouse

CHROMIUM = shutil.which("chromium")
N_TRACKS = 40
START_S = 240
SHOWN_MS = 120_000


def groups(n: int, n_groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in groups far from each other, and whose group each is of."""
    rng = np.random.default_rng(0)
    group = np.arange(n) % n_groups
    vectors = np.eye(512)[group] + rng.standard_normal((n, 512)) / 60
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), group


def proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the index for checked: no run has been here to check it."""
    monkeypatch.setattr("audio_assets.assets.projection.require_proven", lambda *_: None)


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Warehouse:
    return publish_collection(tmp_path_factory.mktemp("map") / "data", N_TRACKS)


@pytest.fixture(scope="module")
def laid_out(collection) -> dg.MaterializeResult:
    """The collection's projection, made by its asset."""
    with pytest.MonkeyPatch.context() as patch:
        proven(patch)
        return embedding_projection(dg.build_asset_context(), collection)


@pytest.fixture
def exported(collection, laid_out, tmp_path):
    target = tmp_path / "map.parquet"
    done = CliRunner().invoke(app, ["map", "--data", str(collection.path), "--export", str(target)])
    assert done.exit_code == 0, done.output
    return pq.read_table(target)


def test_two_projections_are_equal_and_keep_groups_together():
    vectors, group = groups(60)
    first, second = project(vectors), project(vectors)
    np.testing.assert_array_equal(first.points, second.points)
    assert first.trustworthiness > 0.8
    distances = np.linalg.norm(first.points[:, None] - first.points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (group[distances.argmin(axis=1)] == group).all()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 14])
def test_small_collections_have_a_map(n):
    found = project(groups(n)[0])
    assert found.points.shape == (n, 2)
    assert np.isfinite(found.points).all()
    assert (found.trustworthiness is None) == (n < 4)


def test_copies_of_one_track_have_a_map():
    assert np.isfinite(project(np.repeat(groups(1)[0], 20, axis=0)).points).all()


def test_trustworthiness_tells_a_good_map_from_points_thrown_down():
    vectors, _ = groups(200, 10)
    assert trustworthiness(vectors, vectors[:, :10]) > 0.75
    thrown = np.random.default_rng(1).standard_normal((200, 2)).astype(np.float32)
    assert trustworthiness(vectors, thrown) < 0.6


def test_trustworthiness_of_many_is_of_a_sample_that_is_always_the_same(monkeypatch):
    monkeypatch.setattr(projection, "TRUSTED_ROWS", 50)
    vectors, _ = groups(200, 10)
    assert trustworthiness(vectors, vectors[:, :2]) == trustworthiness(vectors, vectors[:, :2])


def test_without_umap_a_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MapExtraMissingError, match=r"\.\[map\]"):
        project(groups(10)[0])


def test_the_asset_says_how_it_was_made_and_how_far_to_trust_it(collection, laid_out):
    metadata = laid_out.metadata
    assert metadata["dagster/row_count"] == N_TRACKS
    assert 0.5 < metadata["trustworthiness"] <= 1
    assert {name: metadata[name] for name in ("method", "seed", "n_neighbors", "min_dist")} == {
        "method": "umap",
        "seed": 42,
        "n_neighbors": 15,
        "min_dist": 0.1,
    }
    assert metadata["map"].value.startswith("![")
    assert projection_path(collection.record).parent.parent.name == collection.record.version_in_force()


def test_the_map_makes_nothing_due_that_was_not(collection, laid_out):
    """What is published is not made of it, and no job makes it."""
    from audio_assets.automation.jobs import JOBS
    from audio_assets.builds import inputs_digest

    before = inputs_digest(collection.record)
    held = projection_path(collection.record).read_bytes()
    projection_path(collection.record).write_bytes(held + b" ")
    assert inputs_digest(collection.record) == before
    projection_path(collection.record).write_bytes(held)
    with open_instance(collection.path) as instance:
        assert "embedding_projection" not in due(instance, collection)
    selections = " ".join(str(getattr(job, "selection", "")) for job in JOBS)
    assert "embedding_projection" not in selections


def test_a_new_index_has_no_map_yet(tmp_path, monkeypatch):
    proven(monkeypatch)
    warehouse = publish_collection(tmp_path, 5)
    embedding_projection(dg.build_asset_context(), warehouse)
    assert is_projected(warehouse.record)
    publish_collection(tmp_path, 6)
    assert not is_projected(warehouse.record)


def test_the_table_has_a_row_a_track_with_its_names_numbers_and_place(exported):
    assert exported["song_id"].to_pylist() == [f"t{number:04d}" for number in range(N_TRACKS)]
    assert exported["track_name"].to_pylist()[:6] == [title_of(number) for number in range(6)]
    assert {"genre", "key", "tempo_bpm", "hpcp_11", "x", "y", "neighbors"} <= set(exported.column_names)
    assert "audio" not in exported.column_names
    assert np.isfinite(np.column_stack([exported["x"], exported["y"]])).all()


def test_neighbours_are_rows_of_the_table_nearest_first_without_oneself(collection, exported):
    index, _ = load_index(collection.record)
    scores = index.embeddings @ index.embeddings.T
    np.fill_diagonal(scores, -np.inf)
    for row, found in enumerate(exported["neighbors"].to_pylist()):
        assert row not in found["ids"]
        np.testing.assert_array_equal(found["ids"], np.argsort(-scores[row], kind="stable")[:10])
        np.testing.assert_allclose(found["distances"], 1 - np.sort(scores[row])[::-1][:10], atol=1e-5)


def test_an_excerpt_is_the_middle_of_a_track(tmp_path):
    rate_hz = 44_100
    samples = np.zeros(rate_hz * 30, np.float32)
    samples[rate_hz * 10 : rate_hz * 20] = np.sin(np.arange(rate_hz * 10) * 0.05) / 2
    soundfile.write(tmp_path / "long.wav", samples, rate_hz)
    track = Entry("a", "long.wav", "live", file_path="long.wav")
    excerpt = mp3_excerpt(tmp_path, AudioLimits(), track)
    heard, heard_rate_hz = soundfile.read(io.BytesIO(excerpt))
    assert len(heard) / heard_rate_hz == pytest.approx(EXCERPT_S, abs=0.2)
    assert np.abs(heard).mean() > 0.25, "it is the loud part"
    assert len(excerpt) < 100_000


def test_excerpts_end_at_the_limit(tmp_path, monkeypatch):
    proven(monkeypatch)
    warehouse = publish_collection(tmp_path / "data", 5)
    embedding_projection(dg.build_asset_context(), warehouse)
    monkeypatch.setattr("audio_assets.previews.mp3_excerpt", half_a_megabyte)
    arguments = ["map", "--data", warehouse.path, "--export", tmp_path / "m.parquet", "--audio"]
    arguments += ["--library", tmp_path, "--audio-limit-mb", 1]
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    assert "5 tracks, 2 of them with an excerpt" in done.output


def test_a_damaged_file_is_a_sentence(tmp_path, monkeypatch):
    proven(monkeypatch)
    warehouse = publish_collection(tmp_path / "data", 3)
    embedding_projection(dg.build_asset_context(), warehouse)
    (warehouse.path / "warehouse.duckdb").resolve().write_bytes(bytes(20_000))
    for command in (["map", "--export", str(tmp_path / "m.parquet")], ["report"]):
        done = CliRunner().invoke(app, [*command, "--data", str(warehouse.path)])
        assert done.exit_code == 1
        assert "cannot be read" in done.output
        assert "audio-assets rollback" in done.output


def half_a_megabyte(root: Path, limits: AudioLimits, track: Entry) -> bytes:
    return bytes(500_000)


@pytest.mark.skipif(find_spec("embedding_atlas") is None, reason="the extra 'map' is not installed")
@needs(None if CHROMIUM else "no chromium binary on this machine")
def test_a_browser_shows_the_tracks_and_finds_one_by_its_title(collection, laid_out, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "audio_assets",
        "map",
        "--data",
        str(collection.path),
        "--port",
        str(port),
    ]
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/", server, log, START_S)
        look_at(f"http://127.0.0.1:{port}/", tmp_path)
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def look_at(url: str, folder: Path) -> None:
    requests = []
    with sync_playwright() as playwright:
        flags = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        expect(page.get_by_text(f"{N_TRACKS} points", exact=True).first).to_be_visible(timeout=SHOWN_MS)
        page.wait_for_timeout(3_000)  # the points are drawn a moment after they are counted
        assert n_colours(page.locator("canvas").first.screenshot()) > 10, "points are drawn"
        page.get_by_placeholder("Search").fill("Title 7")
        expect(page.get_by_text("Title 7", exact=True).first).to_be_visible(timeout=SHOWN_MS)
        assert page.evaluate("window.harmed") is None
        browser.close()
    assert all(address.startswith((url, "data:", f"blob:{url}")) for address in requests)


def n_colours(png: bytes) -> int:
    from PIL import Image

    return len(Image.open(io.BytesIO(png)).convert("RGB").getcolors(1 << 24) or ())
