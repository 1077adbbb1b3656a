"""Rate and recall of all contenders over the same vectors, in turns, on one thread."""

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audio_assets.retrieval import exact
from retrieval_cost.building import built, contender_named, folder_of, resident, vectors_of
from retrieval_cost.contenders import CONTENDERS, Contender, OursApproximate, Rows, Vectors

K = 10
RECALL = 0.99
_RECALL_QUERIES = 300
_BATCH = 64
_ROUNDS = 5
_SECONDS_A_TURN = 0.15


@dataclass
class Timed:
    """A contender at one width, and how long its queries took."""

    contender: Contender
    width: int | None
    single_s: list[float] = field(default_factory=list)
    batched_s: list[float] = field(default_factory=list)

    def turn(self, queries: Vectors) -> None:
        """Ask single queries for a while, and once a batch."""
        if self.width is not None:
            self.contender.widen(self.width)
        ended = time.perf_counter() + _SECONDS_A_TURN
        for query in queries:
            started = time.perf_counter()
            self.contender.search(query[None], K)
            self.single_s.append(time.perf_counter() - started)
            if started > ended:
                break
        batch = queries[: 2 if self.single_s[-1] > 0.5 else _BATCH]
        started = time.perf_counter()
        self.contender.search(batch, K)
        self.batched_s.append((time.perf_counter() - started) / len(batch))


def measure(work: Path, n: int) -> dict[str, Any]:
    """Build, open and ask all contenders over n vectors; figures by name."""
    names = [kind.name for kind in CONTENDERS if n <= kind.most_rows]
    costs = {name: {**built(work, name, n), **resident(work, name, n)} for name in names}
    path, matrix, held_out = vectors_of(work, n)
    queries = np.array(held_out)
    wanted = exact.nearest(matrix, queries[:_RECALL_QUERIES], K)[0]
    timed, curves = [], {}
    for name in names:
        contender = contender_named(name)
        contender.open(path, n, folder_of(work, name, n))
        widths, recalls = _recalls(contender, queries[:_RECALL_QUERIES], wanted)
        curves[name] = recalls
        timed += [Timed(contender, width) for width in widths]
    for _ in range(_ROUNDS):
        for one in timed:
            one.turn(queries)
    return {name: {**costs[name], **_figures(name, timed, curves[name])} for name in names}


def _recalls(
    contender: Contender, queries: Vectors, wanted: Rows
) -> tuple[list[int | None], dict[int | None, float]]:
    """Widths to measure, and the recall at each."""
    if contender.is_exact:
        return [None], {None: 1.0}
    widths: list[int] = list(contender.widths)
    if isinstance(contender, OursApproximate):
        widths.append(contender.index.approximate.lists.nprobe)  # what it settled itself
    found = {}
    for width in sorted(set(widths)):
        contender.widen(width)
        rows = contender.search(queries, K)
        found[width] = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(rows, wanted, strict=True)]))
    return list(found), found


def _figures(name: str, timed: list[Timed], recalls: dict[int | None, float]) -> dict[str, Any]:
    """Of the width that is shown, which is the first to reach the recall, and of all."""
    mine = {one.width: one for one in timed if one.contender.name == name}
    curve = [
        {
            "width": width,
            "recall_at_10": recalls[width],
            "single_per_s": 1 / statistics.median(one.single_s),
            "batched_per_s": 1 / statistics.median(one.batched_s),
        }
        for width, one in mine.items()
    ]
    enough = [point for point in curve if point["recall_at_10"] >= RECALL]
    return {**(enough[0] if enough else curve[-1]), "curve": curve}
