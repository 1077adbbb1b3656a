"""Fixtures that more than one test module needs."""

from pathlib import Path

import pytest

from audio_assets.demo.library import make_demo_library


@pytest.fixture(scope="session")
def demo_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo library, made once: ``audio/`` and ``truth.csv``. Read it, never write to it."""
    return make_demo_library(tmp_path_factory.mktemp("library") / "demo")
