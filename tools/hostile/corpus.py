"""The whole list of bad files, the same for the same seed."""

from collections.abc import Iterator
from pathlib import Path

from tools.hostile.bombs import bombs
from tools.hostile.boundaries import boundaries
from tools.hostile.case import Case, content
from tools.hostile.impostors import impostors
from tools.hostile.lies import lies
from tools.hostile.moving import moving
from tools.hostile.places import odd_names, places
from tools.hostile.signals import signals
from tools.hostile.sounds import FORMATS, encode, music


def corpus(seed: int) -> Iterator[Case]:
    """Every case of every kind.

    Parameters
    ----------
    seed : int
        Decides the sounds and the bytes that are changed at random.

    Yields
    ------
    Case
        Each with a path of its own.
    """
    yield from _cuts(seed)
    yield from lies(seed)
    yield from signals(seed)
    yield from impostors(seed)
    yield from bombs(seed)
    yield from odd_names(seed)
    yield from places()
    yield from moving(seed)
    yield from _of_scipy()


def write(cases: list[Case], folder: Path) -> None:
    """Make the files of some cases below a folder."""
    for case in cases:
        path = folder / case.path
        for parent in reversed(
            path.parents
        ):  # one by one: mkdir with parents=True recurses, and some are deep
            parent.mkdir(exist_ok=True)
        case.write(path)


def _cuts(seed: int) -> Iterator[Case]:
    sound = music(seed=seed)
    for format, (suffix, _) in FORMATS.items():
        good = encode(format, sound)
        for length in boundaries(format, good):
            yield content("cuts", f"{format} of {length} bytes{suffix}", good[:length])


def _of_scipy() -> Iterator[Case]:
    """WAV files that scipy keeps for its own tests; none where it is installed without them."""
    import scipy.io

    for path in sorted((Path(scipy.io.__file__).parent / "tests" / "data").glob("*.wav")):
        yield content("scipy", path.name, path.read_bytes())
