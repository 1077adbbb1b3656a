"""What is installed: locked, and under licences that somebody has looked at."""

import re
from pathlib import Path

import pytest

from tools import write_licences
from tools.write_licences import PAGE, UnknownLicenceError, locked, page

ROOT = Path(__file__).parents[1]


def test_every_locked_package_has_one_version_and_no_address() -> None:
    lines = [
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
    ]
    pinned = r'[A-Za-z0-9._-]+==[A-Za-z0-9.]+( ; sys_platform == "linux")?'
    assert [line for line in lines if not re.fullmatch(pinned, line)] == []
    assert len({re.sub(r"[-_.]+", "-", name).lower() for name in locked()}) == len(lines)


def test_the_tests_that_security_is_said_to_be_held_by_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    tests = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    known = {name for text in tests for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert len(named) > 20
    assert named - known == set()


def test_the_licences_are_those_of_the_lock() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.write_licences"


def test_a_licence_that_nobody_has_looked_at_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        write_licences, "licence_of", lambda name: "CC-BY-NC-4.0" if name == "numpy" else "MIT"
    )
    with pytest.raises(UnknownLicenceError, match=r"numpy is under 'CC-BY-NC-4\.0'"):
        page()
