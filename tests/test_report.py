"""The report: it finds the defects of a real table, and is one inert file, whatever the titles say."""

import csv
import re
import shutil

import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from programs import needs
from synthetic_collection import HOSTILE, N_FAILED, publish_collection
from typer.testing import CliRunner

from audio_assets.cli import app
from audio_assets.features import FEATURES
from audio_assets.report import concerns, copies, missing_tonics, summarise

CHROMIUM = shutil.which("chromium")
N_TRACKS = 60
TEMPO = FEATURES[0]
SECTIONS = (
    "Overview",
    "Constant or suspicious columns",
    "Tempo and key",
    "Embeddings",
    "Features",
    "Failures",
    "Slowest tracks",
    "How it was measured",
)


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    """A report made by the command, as somebody's file manager would open it."""
    folder = tmp_path_factory.mktemp("report")
    publish_collection(folder / "data", N_TRACKS, beats_loudness_mean=0.0)
    target = folder / "elsewhere" / "report.html"
    done = CliRunner().invoke(app, ["report", "--data", str(folder / "data"), "--output", str(target)])
    assert done.exit_code == 0, done.output
    return target


@pytest.fixture(scope="module")
def html(page_path):
    return page_path.read_text(encoding="utf-8")


def reasons(column: np.ndarray) -> str:
    return " ".join(concerns(summarise(TEMPO, column)))


def test_the_defects_of_the_original_table_are_found(merge_data):
    with (merge_data / "merge_audio_features.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {f.name: np.array([float(row[f.name] or "nan") for row in rows]) for f in FEATURES}
    suspicious = [f.name for f in FEATURES if list(concerns(summarise(f, columns[f.name])))]
    assert suspicious == [name for name in columns if name.startswith("beats_")]
    tonics = np.rint(np.arctan2(columns["key_sin"], columns["key_cos"]) * 6 / np.pi).astype(int) % 12
    assert missing_tonics(np.bincount(tonics, minlength=12).tolist()) == [3, 8, 10]
    assert copies(list(columns), np.column_stack(list(columns.values()))) == []


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.full(50, np.nan), "No track has a value"),
        (np.full(50, 7.0), "Constant: every value is 7"),
        (np.r_[np.zeros(95), np.arange(1.0, 6)], "95.0% of the tracks have the value 0"),
        (np.r_[np.arange(70.0), np.full(30, np.nan)], "30% of the tracks have no value"),
        (np.r_[np.arange(99.0), 1e9], "interquartile ranges"),
    ],
)
def test_what_is_suspicious_is_said(column, said):
    assert said in reasons(column)


@pytest.mark.parametrize(
    "column", [np.arange(100.0), np.zeros(1), np.zeros(0), np.r_[np.arange(90.0), [np.nan] * 10]]
)
def test_what_is_usual_is_not(column):
    assert not reasons(column)


def test_columns_that_say_the_same_are_found():
    rng = np.random.default_rng(0)
    first, other = rng.standard_normal((2, 500))
    found = copies(["a", "b", "c", "constant"], np.column_stack([first, other, 3 - 2 * first, np.ones(500)]))
    assert [(a, b) for a, b, _ in found] == [("a", "c")]
    assert found[0][2] == pytest.approx(-1)


def test_a_histogram_counts_every_value_once():
    column = summarise(TEMPO, np.r_[np.random.default_rng(0).normal(120, 10, 1000), 1e6, -1e6, np.nan])
    assert column.counts.sum() == 1002
    assert column.n_null == 1
    assert column.edges[-1] < 200, "one value far away does not flatten the rest"


def test_the_report_says_what_is_in_the_tables(html):
    text = re.sub(r"<[^>]+>", " ", html)
    assert f"Report on {N_TRACKS + N_FAILED} tracks" in text
    assert re.search(r"beats_loudness_mean\s*:\s*Constant: every value is 0", text)
    assert html.count('aria-label="Histogram of ') == len(FEATURES)
    assert re.search(rf"features\s+silent\s+{N_FAILED}\b", text)
    assert text.index("t0059") < text.index("t0045"), "the slowest track is named first"


def test_nothing_published_is_a_sentence(tmp_path):
    (tmp_path / "record").mkdir()
    done = CliRunner().invoke(app, ["report", "--data", str(tmp_path)])
    assert done.exit_code == 1
    assert "nothing is published" in done.output


def test_an_empty_collection_has_a_report(tmp_path):
    publish_collection(tmp_path, 0)
    done = CliRunner().invoke(app, ["report", "--data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "Fewer than two tracks" in (tmp_path / "report.html").read_text(encoding="utf-8")


@needs(None if CHROMIUM else "no chromium binary on this machine")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_all_of_it_and_asks_nobody(page_path, scheme):
    requests, complaints = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless=new", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(color_scheme=scheme)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(page_path.as_uri())
        assert page.locator("h2").all_inner_texts() == list(SECTIONS)
        assert page.locator("img").evaluate_all("all => all.every(image => image.naturalWidth > 0)")
        assert page.locator("img, svg[role=img]").evaluate_all(
            "all => all.every(one => one.alt || one.getAttribute('aria-label'))"
        )
        shown = page.locator("body").inner_text()
        ink, paper = page.locator("body").evaluate(
            "body => { const s = getComputedStyle(body); return [s.color, s.backgroundColor]; }"
        )
        assert page.evaluate("window.harmed") is None
        browser.close()
    assert [url for url in requests if not url.startswith("data:")] == [page_path.as_uri()]
    assert not complaints
    assert HOSTILE[0] in shown, "it is shown as the text that it is"
    assert brightness(paper) > brightness(ink) if scheme == "light" else brightness(paper) < brightness(ink)


def brightness(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)[:3]))
