"""Pictures for the UI: they show what is in the numbers, are small, and are made of hostile libraries too."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from audio_assets import plots

#: Every build leaves its pictures in Dagster's records.
MOST_BYTES = 30_000

BLUE, ORANGE = (79, 67, 221), (224, 135, 58)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def coloured(png: bytes, colour: tuple[int, int, int]) -> np.ndarray:
    """Mask of the pixels of about one colour."""
    return np.abs(pixels(png) - colour).sum(axis=2) < 40


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def cone() -> np.ndarray:
    """Vectors that all point about the same way."""
    return unit(np.random.default_rng(1).standard_normal((300, 512)) / 20 + np.eye(512)[0])


def test_a_cone_is_right_of_where_centring_puts_it(cone):
    picture = plots.cosine_histogram(cone, unit(cone - cone.mean(axis=0)))
    # Drawn translucent; the lines at the means are not, and the legend's samples are left of both.
    raw, centred = (np.nonzero(coloured(picture, c)[60:])[1].mean() for c in (BLUE, ORANGE))
    assert raw > centred + 40


@pytest.mark.parametrize("bpm", [60.0, 180.0])
def test_a_tempo_is_drawn_where_it_is(bpm):
    columns = np.nonzero(coloured(plots.tempo_histogram(np.full(50, bpm)), BLUE))[1]
    left, right = 40, 630  # the axes, about
    assert columns.mean() == pytest.approx(left + (bpm - 30) / 220 * (right - left), abs=20)


def test_each_key_has_its_bar_and_each_mode_its_colour():
    angle = 2 * np.pi * np.array([0, 0, 0, 8]) / 12  # three in C, one in Ab
    picture = plots.key_distribution(np.cos(angle), np.sin(angle), np.array([0.0, 0.0, 0.0, 1.0]))
    major, minor = (coloured(picture, colour)[32:] for colour in (BLUE, ORANGE))
    assert major.sum() > 2.5 * minor.sum()
    assert np.nonzero(major)[1].max() < np.nonzero(minor)[1].min(), "C is left of Ab"


def test_tracks_that_are_alike_are_near_each_other_on_the_map():
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(512)[:2], 40, axis=0)
    picture = plots.embedding_map(
        unit(centres + rng.standard_normal((80, 512)) / 100), ["a"] * 40 + ["b"] * 40
    )
    first, second = ((31, 119, 180), (255, 127, 14))
    across = [np.nonzero(coloured(picture, colour)[:, :560])[1] for colour in (first, second)]
    assert max(np.ptp(columns) for columns in across) < 60
    assert abs(across[0].mean() - across[1].mean()) > 200


def test_a_large_library_is_drawn_from_a_sample_that_is_always_the_same():
    vectors = unit(np.random.default_rng(0).standard_normal((20_000, 64)))
    labels = [("rock", "pop", "jazz", None)[row % 4] for row in range(len(vectors))]
    for draw in (
        lambda: plots.cosine_histogram(vectors, vectors),
        lambda: plots.embedding_map(vectors, labels),
        lambda: plots.tempo_histogram(np.linspace(40, 240, 20_000)),
    ):
        picture = draw()
        assert len(picture) < MOST_BYTES
        assert picture == draw()


@pytest.mark.parametrize(
    "label", ["_hidden", "$x$ $", "$", "a" * 300, "ジャズ", "</svg><script>", "![](x)", "\\frac{1}", "{x}"]
)
def test_any_label_can_be_drawn(cone, label):
    assert plots.embedding_map(cone, [label] * len(cone))


def test_there_is_no_picture_of_nothing():
    none, one = np.empty((0, 512), np.float32), np.eye(512, dtype=np.float32)[:1]
    nan = np.array([np.nan, np.nan])
    assert plots.cosine_histogram(none, none) is None
    assert plots.cosine_histogram(np.repeat(one, 2, axis=0), none) is None, "two copies have no direction"
    assert plots.tempo_histogram(nan) is None
    assert plots.key_distribution(nan, nan, nan) is None
    assert plots.embedding_map(none, []) is None
    assert plots.embedding_map(np.repeat(one, 5, axis=0), [None] * 5) is None


def test_markdown_carries_the_picture():
    text = plots.as_markdown(b"\x89PNG", "what it shows")
    assert text.startswith("![what it shows](data:image/png;base64,")
    assert base64.b64decode(text.rstrip(")").partition("base64,")[2]) == b"\x89PNG"
