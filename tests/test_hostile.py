"""Bad files of every kind and format, through the real pipeline, with good ones between them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from resources.analysis_pool import AnalysisPool
from tools.hostile.case import Case
from tools.hostile.corpus import corpus
from tools.hostile.moving import KIND as MOVING
from tools.hostile.places import NAMES, PLACES
from tools.hostile.run import Site, neighbours, remove, try_all
from tools.hostile.table import complaints, table

#: Every so many-th of a kind; all of those that are quick and all unlike each other.
_EVERY = {"cuts": 14, "lies": 14, "flips": 9, "signals": 5, "impostors": 6, NAMES: 6, PLACES: 1, MOVING: 4}
#: Those that are slow for what they are: `make hostile` tries all.
_BOMBS = ("claims 96 h", "ds64", "title of 200 MB", "title of 20 MB", "10^5 empty pages", "compressed block")
#: What each of these was before it was a failure with a name, or a row: an exception that nobody foresaw.
_ONCE_UNFORESEEN = {
    "lies/wav 65535 bits.wav": "undecodable",
    "lies/flac picture lies.flac": "row",
    "lies/aiff COMM of 4 GB.aiff": "undecodable",
}


def sample(cases: Sequence[Case]) -> Iterator[Case]:
    """A few of every kind."""
    seen: dict[str, int] = {}
    for case in cases:
        seen[case.kind] = number = seen.get(case.kind, -1) + 1
        if (
            case.path in _ONCE_UNFORESEEN
            or case.name.startswith(_BOMBS)
            or (case.kind != "bombs" and "/d/" not in case.path and number % _EVERY.get(case.kind, 4) == 0)
        ):
            yield case


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "hostile"
    remove(tmp_path / "hostile")


def test_bad_files_end_in_a_row_or_a_reason_and_leave_the_good_ones_alone(
    place: Path, clap_checkpoint: Path
) -> None:
    pool = AnalysisPool(workers=2, track_timeout_s=120, track_memory_mb=2000)
    good = list(neighbours(1))[::3]
    cases = [*good, *sample(list(corpus(1)))]
    assert len({case.kind for case in cases}) == 11
    alone = try_all(Site(place / "alone", place / "alone-data", clap_checkpoint, pool), good)
    assert len(alone.neighbours) == len(good)
    verdict = try_all(Site(place / "music", place / "data", clap_checkpoint, pool), cases)
    assert not complaints(verdict, alone, cases), table(verdict, cases)
    for path, code in _ONCE_UNFORESEEN.items():
        assert {end.code for end in verdict.ends[path]} == {code}, path
