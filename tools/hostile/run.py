"""What the real pipeline makes of bad files, and of the good ones between them."""

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_assets.pipeline import Pipeline, RunReport, open_instance
from audio_assets.warehouse import open_live
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.progress import Progress
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse
from tools.hostile.case import Case, content
from tools.hostile.corpus import write
from tools.hostile.sounds import FORMATS, encode, music

ROW = "row"
NEIGHBOURS = "neighbours"
_MOVE_EVERY_S = 0.01

#: What each stage made of a track: rows and failures.
_STAGES = {"features": "feature_outcomes", "embedding": "embedding_attempts"}


@dataclass(frozen=True)
class Site:
    """A library, the data made of it, and the limits that each track has to keep."""

    library: Path
    data: Path
    model: Path
    pool: AnalysisPool

    def run(self) -> RunReport:
        """Run the pipeline as the command line does, in this process."""
        warehouse = Warehouse(data_dir=str(self.data))
        warehouse.prepare()
        with open_instance(self.data) as instance:
            return Pipeline(
                library=TrackLibrary(root=str(self.library)),
                warehouse=warehouse,
                clap_model=ClapModel(model_id=str(self.model), offline=True),
                analysis_pool=self.pool,
                progress=Progress(),
            ).run(instance)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the record."""
        with open_live(Warehouse(data_dir=str(self.data)).record) as connection:
            return connection.execute(query).fetchall()


@dataclass(frozen=True)
class End:
    """How a file ended: by the stage that ended it, a failure code, or `ROW`; and what was said."""

    stage: str
    code: str
    message: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of all files.

    Parameters
    ----------
    ends : dict of str to list of End
        By path below the library; one that was never listed (a folder) has none.
    report : RunReport
        What the pipeline said of itself.
    neighbours : dict of str to tuple
        Every number of each good file, features and embedding.
    elapsed_s : float
        Of the run.
    """

    ends: dict[str, list[End]]
    report: RunReport
    neighbours: dict[str, tuple[Any, ...]] = field(repr=False)
    elapsed_s: float = 0.0


def neighbours(seed: int) -> Iterator[Case]:
    """Good files, one of each format, that lie among the bad ones by name."""
    for number, (format, (suffix, _)) in enumerate(FORMATS.items()):
        data = encode(format, music(2.5, seed=seed + number))
        yield content(NEIGHBOURS, f"{format}{suffix}", data, is_music=True)


def try_all(site: Site, cases: Sequence[Case]) -> Verdict:
    """Write the files, run the pipeline over them, and say how each ended.

    Parameters
    ----------
    site : Site
        Its library may hold files already.
    cases : sequence of Case
        What to add; those that move are moved for as long as the run lasts.

    Returns
    -------
    Verdict
    """
    site.library.mkdir(parents=True, exist_ok=True)
    write(list(cases), site.library)
    started = time.monotonic()
    with _moved(site.library, [case for case in cases if case.move]):
        report = site.run()
    elapsed_s = time.monotonic() - started
    return Verdict(_ends(site), report, _numbers(site), elapsed_s)


def remove(folder: Path) -> None:
    """Remove a folder, be it nested as deep as it may; Python's own way recurses."""
    subprocess.run(["rm", "-rf", "--", str(folder)], check=True)  # noqa: S603, S607


def _ends(site: Site) -> dict[str, list[End]]:
    ends: dict[str, list[End]] = {}
    for path, code, message in site.rows("SELECT audio_path, failure_code, failure_message FROM manifest"):
        ends[path] = [End("manifest", code, message)] if code else []
    for stage, table in _STAGES.items():
        columns = "audio_path, o.failure_code, o.failure_message"
        query = f"SELECT {columns} FROM {table} o JOIN manifest USING (song_id)"  # noqa: S608
        for path, code, message in site.rows(query):
            ends[path].append(End(stage, code or ROW, message or ""))
    return ends


def _numbers(site: Site) -> dict[str, tuple[Any, ...]]:
    query = f"""
        SELECT audio_path, f.* EXCLUDE (song_id), e.embedding
        FROM audio_features f JOIN clap_embeddings e USING (song_id) JOIN manifest USING (song_id)
        WHERE audio_path LIKE '{NEIGHBOURS}/%'
    """  # noqa: S608
    return {path: numbers for path, *numbers in site.rows(query)}  # type: ignore[misc]


@contextmanager
def _moved(library: Path, cases: Sequence[Case]) -> Iterator[None]:
    is_over = threading.Event()

    def move_all() -> None:
        while not is_over.is_set():
            for case in cases:
                assert case.move
                case.move(library / case.path)
                is_over.wait(_MOVE_EVERY_S)

    mover = threading.Thread(target=move_all)
    if cases:
        mover.start()
    try:
        yield
    finally:
        is_over.set()
        if cases:
            mover.join()
