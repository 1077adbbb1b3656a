"""Programs that some tests need: skipped without them, unless CI says that they must be there."""

import os

import pytest

#: Set by .ci/run, so that a program that is missing there fails the run.
ARE_REQUIRED = os.environ.get("AUDIO_ASSETS_REQUIRE_PROGRAMS") == "1"


def needs(missing: str | None):
    """Mark for tests of a program; `missing` says what is not there, if it is not."""
    return pytest.mark.skipif(bool(missing) and not ARE_REQUIRED, reason=missing or "")
