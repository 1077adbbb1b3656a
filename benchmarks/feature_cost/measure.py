"""The measurements: what is run, how often and in which order, and which of the times counts.

CPU seconds are medians over rounds; contenders take turns within a round, so that all meet the same weather
on a busy machine. Wall times (throughput) are the best of the rounds, as others only ever make them longer.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from plain_contract import plain_features

from audio_assets.audio import IsolatedPool
from audio_assets.failures import TrackFailure
from audio_assets.features import FEATURE_NAMES, PRELOAD
from feature_cost.contenders import CONTENDERS, Cost, decoded, fast_features, librosa_load, ours
from feature_cost.machine import peak_mb

FRESH_PROCESS = Path(__file__).with_name("fresh_process.py")
#: A whole track's deadline in the pool; kernels are compiled before.
TIMEOUT_S = 600.0
#: Two extractors that differ by more than this do not compute the same thing: in any clip where no decision
#: has a say, in the median clip where one has.
SAME_THING = 1e-3
#: Decisions of the beat tracker: one other beat moves them all.
OF_BEATS = ("beat_", "beats_", "bpm_")
#: Hang on a decision too: two candidates may be equal up to rounding.
OF_DECISIONS = (*OF_BEATS, "tempo_bpm", "key_", "is_minor")


def agreement(clips: Sequence[Path]) -> dict[str, Any]:
    """Largest relative deviation between ours and the plain way in each clip; ends the run if it is large."""
    worst, wrong, same_beats = [], [], 0
    for clip in clips:
        ours_row, plain_row = fast_features(decoded(clip)), plain_features(librosa_load(clip))
        deviations = {name: deviation(ours_row[name], plain_row[name]) for name in FEATURE_NAMES}
        beats_agree = deviations["beat_interval_mean"] < 1e-6
        same_beats += beats_agree
        undecided = [name for name in FEATURE_NAMES if not name.startswith(OF_DECISIONS)]
        wrong += [(clip.name, name, deviations[name]) for name in undecided if deviations[name] > SAME_THING]
        compared = [name for name in FEATURE_NAMES if beats_agree or not name.startswith(OF_BEATS)]
        worst.append(max((deviations[name], name, clip.name) for name in compared))
    median = statistics.median(value for value, _, _ in worst)
    if wrong or median > SAME_THING:
        raise SystemExit(f"ours and the plain way disagree: {wrong or worst}")
    value, column, clip_name = max(worst)
    return {
        "clips": len(clips),
        "same_beats": same_beats,
        "median_of_largest": median,
        "largest": value,
        "largest_column": column,
        "largest_clip": clip_name,
    }


def deviation(value: float | None, plain: float) -> float:
    if value is None:
        return float("inf")
    return abs(value - plain) / max(abs(plain), 1e-12)


def side_by_side(clips: Sequence[Path], contenders: Sequence[str], rounds: int) -> dict[str, Cost]:
    """Mean over the clips of each contender's median cost."""
    costs: dict[tuple[str, Path], list[Cost]] = {(name, clip): [] for name in contenders for clip in clips}
    for _ in range(rounds):
        for clip in clips:
            for name in contenders:
                costs[name, clip].append(CONTENDERS[name](clip))
    medians = {key: median_cost(of_clip) for key, of_clip in costs.items()}
    return {name: mean_cost([medians[name, clip] for clip in clips]) for name in contenders}


def median_cost(costs: Sequence[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.whole_s)[len(costs) // 2]


def mean_cost(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.fmean(cost.compute_s for cost in costs), statistics.fmean(cost.decode_s for cost in costs)
    )


def throughput(clips: Sequence[Path], items: int, rounds: int) -> dict[str, float]:
    """Tracks a second through the pool, wall time, with one and with two warm workers."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    with open_pool(1) as one, open_pool(2) as two:
        pools = {1: one, 2: two}
        for pool in pools.values():
            run(pool, clips, 20)
        for _ in range(rounds):
            for workers, pool in pools.items():
                started = time.perf_counter()
                run(pool, clips, items)
                rates[workers].append(items / (time.perf_counter() - started))
    return {
        "tracks": items,
        "tracks_per_s_1_worker": max(rates[1]),
        "tracks_per_s_2_workers": max(rates[2]),
    }


def track_counts(clips: Sequence[Path], counts: Sequence[int]) -> list[dict[str, float]]:
    """Cost of a track in one worker that lives on, and the worker's peak memory so far."""
    found = []
    with open_pool(1) as pool:
        run(pool, clips, 5)
        for count in counts:
            used = run(pool, clips, count)
            found.append(
                {
                    "tracks": count,
                    "cpu_s_per_track": statistics.fmean(cpu for cpu, _ in used),
                    "worker_peak_mb": max(peak for _, peak in used),
                }
            )
    return found


def open_pool(workers: int) -> IsolatedPool:
    return IsolatedPool(workers, TIMEOUT_S, PRELOAD)


def run(pool: IsolatedPool, clips: Sequence[Path], items: int) -> list[tuple[float, float]]:
    outcomes = [outcome for _, outcome in pool.map_unordered(cost_in_worker, islice(cycle(clips), items))]
    for outcome in outcomes:
        if isinstance(outcome, TrackFailure):
            raise outcome
    return outcomes


def cost_in_worker(clip: Path) -> tuple[float, float]:
    """CPU seconds of a clip, and the worker's peak memory in MB."""
    return ours(clip).whole_s, peak_mb()


def fresh(contender: str, clip: Path, cache: Path | None = None) -> dict[str, float]:
    """Run a contender once in a process of its own, from the interpreter's start on."""
    environment = os.environ | ({"NUMBA_CACHE_DIR": str(cache)} if cache else {})
    command = [sys.executable, str(FRESH_PROCESS), contender, str(clip)]
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result | {"wall_s": time.perf_counter() - started}


def start_up(contender: str, clip: Path, rounds: int) -> dict[str, dict[str, float]]:
    """From nothing to the first row: with an empty kernel cache, then with the one that this has filled."""
    with TemporaryDirectory() as cache:
        cold = fresh(contender, clip, Path(cache))
        warm = [fresh(contender, clip, Path(cache)) for _ in range(rounds)]
    return {"cold": cold, "warm": min(warm, key=lambda of_run: of_run["cpu_s"])}
