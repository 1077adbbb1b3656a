"""The page that turns rates into machines and money says what the tool says."""

from pathlib import Path

import pytest

from tools.cost import CLIPS, MACHINES, SONGS, Library, Machine, table

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"


def test_the_page_shows_the_tools_own_tables() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for libraries in (CLIPS, SONGS):
        assert "\n".join(table(libraries, MACHINES)) in text, "run: python -m tools.cost"


def test_hours_by_hand() -> None:
    """A million clips of three windows: worked out once on paper."""
    clips = Library(1e6, minutes=0.5, windows=3)
    assert clips.hours(Machine("", cores=10, gpu_tflops=0, usd_an_hour=0)) == pytest.approx(25.7, abs=0.05)
    # Forty cores take 1.7 h for all but the model, for which the GPU needs 0.7 h beside them.
    assert clips.hours(Machine("", cores=40, gpu_tflops=121, usd_an_hour=0)) == pytest.approx(1.73, abs=0.01)
    assert clips.hours(Machine("", cores=1e6, gpu_tflops=121, usd_an_hour=0)) == pytest.approx(
        0.705, abs=0.001
    )
