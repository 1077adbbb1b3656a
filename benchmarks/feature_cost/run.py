"""The run: which clips, which measurements, and where the results go.

What belongs here: the sizes of everything, the order of the measurements, the ratios. What does not: how
something is measured (`measure`) or shown (`report`, `plot`).
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from audio_assets.demo.library import make_demo_library
from feature_cost.clips import cut, spread, write_programme
from feature_cost.contenders import CONTENDERS, Cost
from feature_cost.machine import machine, refuse_threads
from feature_cost.measure import agreement, fresh, side_by_side, start_up, throughput, track_counts
from feature_cost.plot import draw
from feature_cost.report import write_into

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results"

POOL_CLIPS = 40
SIDE_BY_SIDE_CLIPS = 8
LONG_CLIPS = 2
LENGTHS_S = (10, 30, 60, 120, 300, 600)
#: Of a track this long one round says as much as several of a short one.
ONE_ROUND_FROM_S = 240
TRACK_COUNTS = (10, 40, 160)
THROUGHPUT_TRACKS = 80
MEMORY_S = {"ours": (30, 600, 3600), "plain": (30, 600)}


def main() -> None:
    options = arguments()
    with TemporaryDirectory(prefix="bench-features-") as scratch:
        results = {"machine": machine(), "rounds": options.rounds}
        programme, results["music"] = music(options.music, Path(scratch))
        results |= measured(programme, options.rounds)
    results = ratios(results) | results
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "features.json").write_text(json.dumps(rounded(results), indent=2) + "\n", encoding="utf-8")
    draw(results, RESULTS / "features.svg")
    write_into(HERE / "README.md", results)
    print(json.dumps(rounded(ratios(results)), indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what the 56 features cost.")
    parser.add_argument("--music", type=Path, help="folder of wav, flac, ogg or mp3 (default: demo library)")
    parser.add_argument(
        "--rounds", type=odd, default=3, help="how often each clip is measured, an odd number"
    )
    return parser.parse_args()


def odd(text: str) -> int:
    """A count whose median is one of the measured."""
    count = int(text)
    if count < 1 or count % 2 == 0:
        raise argparse.ArgumentTypeError(f"{text} is not an odd number")
    return count


def music(folder: Path | None, scratch: Path) -> tuple[Path, str]:
    """Make the programme that all clips are cut from; return it and what it is."""
    programme = scratch / "programme.wav"
    if folder:
        return programme, f"Clips of {write_programme(folder, programme)} released pieces of music"
    print("no MUSIC given: the demo library's synthetic music stands in for it", file=sys.stderr)
    library = make_demo_library(scratch / "demo")
    return (
        programme,
        f"Clips of {write_programme(library, programme)} synthetic pieces (no real music was given)",
    )


def measured(programme: Path, rounds: int) -> dict[str, Any]:
    """Everything, after a first pass that imports and compiles what the later ones must not pay for."""
    clips = spread(programme, POOL_CLIPS, 30, ".wav")
    few = clips[:: POOL_CLIPS // SIDE_BY_SIDE_CLIPS]
    long = spread(programme, LONG_CLIPS, 240, ".ogg")
    say("agreement with the plain way")
    results: dict[str, Any] = {"agreement": agreement(few)}
    side_by_side(few[:1], list(CONTENDERS), 1)
    refuse_threads()
    say("side by side, 30-s wav")
    results["wav_30_s"] = as_plain(side_by_side(few, list(CONTENDERS), rounds), len(few))
    say("side by side, 4-min ogg")
    results["ogg_4_min"] = as_plain(side_by_side(long, list(CONTENDERS), rounds), len(long))
    say("lengths")
    results["lengths"] = [of_length(programme, length_s, rounds) for length_s in LENGTHS_S]
    say("workers and number of tracks")
    results["throughput"] = throughput(clips, THROUGHPUT_TRACKS, max(rounds, 3))
    results["track_counts"] = track_counts(clips, TRACK_COUNTS)
    say("memory")
    results["memory_mb"] = memory(programme)
    say("start-up")
    results["start_up"] = {name: start_up(name, few[0], rounds) for name in ("ours", "plain")}
    return results


def say(what: str) -> None:
    print(f"measuring: {what}", file=sys.stderr, flush=True)


def as_plain(costs: Mapping[str, Cost], clips: int) -> dict[str, Any]:
    return {"clips": clips} | {name: asdict(cost) | {"whole_s": cost.whole_s} for name, cost in costs.items()}


def of_length(programme: Path, length_s: int, rounds: int) -> dict[str, Any]:
    clip = cut(programme, programme.with_name(f"{length_s}s.wav"), 60, length_s)
    costs = side_by_side(
        [clip], ["ours", "plain", "rhythmextractor2013"], rounds if length_s < ONE_ROUND_FROM_S else 1
    )
    return {"duration_s": length_s} | as_plain(costs, 1)


def memory(programme: Path) -> dict[str, dict[str, float]]:
    """Peak of a fresh process for each length; the longest is the programme itself."""
    return {
        name: {
            str(length_s): fresh(name, cut(programme, programme.with_name("memory.wav"), 0, length_s))[
                "peak_mb"
            ]
            for length_s in lengths_s
        }
        for name, lengths_s in MEMORY_S.items()
    }


def ratios(results: Mapping[str, Any]) -> dict[str, float]:
    """Others' cost to ours, ours always from the file, decoding included, unless the name says otherwise."""
    short, long, pool = results["wav_30_s"], results["ogg_4_min"], results["throughput"]
    return {
        "ratio_vs_plain": ratio(short, "plain"),
        "ratio_vs_rhythmextractor2013": ratio(short, "rhythmextractor2013"),
        "ratio_vs_musicextractor": ratio(short, "musicextractor"),
        "ratio_vs_librosa": ratio(short, "librosa"),
        "ratio_vs_plain_from_samples": short["plain"]["compute_s"] / short["ours"]["compute_s"],
        "ratio_vs_plain_4_min_ogg": ratio(long, "plain"),
        "scaling_2_workers": pool["tracks_per_s_2_workers"] / pool["tracks_per_s_1_worker"],
    }


def ratio(costs: Mapping[str, Any], other: str) -> float:
    return float(costs[other]["whole_s"] / costs["ours"]["whole_s"])


def rounded(value: Any) -> Any:
    """Four significant digits: what is beyond them is noise."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
