"""Results as one figure: what a clip costs, and that a minute of music costs the same in a long track."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from feature_cost.report import duration

OURS, OTHERS, INK = "#c2410c", "#7c8ba1", "#1f2937"

BARS = {
    "plain": "contract, the plain way",
    "musicextractor": "essentia MusicExtractor",
    "rhythmextractor2013": "RhythmExtractor2013 alone",
    "librosa": "librosa's 14 features",
    "ours": "audio-assets, all 56",
}
LINES = {
    "plain": ("contract, the plain way", OTHERS, "s-"),
    "rhythmextractor2013": ("RhythmExtractor2013 alone", OTHERS, "^--"),
    "ours": ("audio-assets", OURS, "o-"),
}


def draw(results: Mapping[str, Any], target: Path) -> None:
    style: dict[Any, Any] = {
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": OTHERS,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "xtick.color": INK,
        "ytick.color": INK,
        "svg.hashsalt": target.name,  # the same results give the same file
    }
    with mpl.rc_context(style):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
        draw_bars(left, results["wav_30_s"])
        draw_lines(right, results["lengths"])
        figure.savefig(target, facecolor="white", metadata={"Date": None})
        plt.close(figure)


def draw_bars(axes: Axes, costs: Mapping[str, Any]) -> None:
    names = sorted(BARS, key=lambda name: costs[name]["whole_s"])
    seconds = [costs[name]["whole_s"] for name in names]
    colours = [OURS if name == "ours" else OTHERS for name in names]
    bars = axes.barh([BARS[name] for name in names], seconds, color=colours, height=0.65)
    axes.bar_label(bars, [f"{value:.2f} s" for value in seconds], padding=4)
    axes.set(title="A 30-s clip", xlabel="CPU time [s]", xlim=(0, 1.15 * max(seconds)))


def draw_lines(axes: Axes, lengths: list[Mapping[str, Any]]) -> None:
    minutes = [of["duration_s"] / 60 for of in lengths]
    for name, (label, colour, marker) in LINES.items():
        cost = [of[name]["whole_s"] / length for of, length in zip(lengths, minutes, strict=True)]
        axes.plot(minutes, cost, marker, color=colour, label=label, markersize=5)
        axes.annotate(label, (minutes[0], cost[0]), (0, 7), textcoords="offset points", color=colour)
    axes.set(xscale="log", yscale="log", xlabel="track length", ylabel="CPU time [s] per minute of audio")
    axes.set(title="Cost against length", ylim=(axes.get_ylim()[0], 1.8 * axes.get_ylim()[1]))
    axes.set_xticks(minutes, [duration(of["duration_s"]) for of in lengths])
    axes.minorticks_off()
    axes.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    axes.grid(axis="y", color=OTHERS, alpha=0.25)
