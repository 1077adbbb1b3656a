"""The tables and the picture of `benchmarks/retrieval.py`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Results = Mapping[str, Mapping[str, Any]]

_HEADS = ("build CPU s", "on disk MB", "own MB", "mapped MB", "single/s", "batched/s", "recall@10")


def tables(sizes: Results) -> str:
    """One table for each number of vectors."""
    parts = []
    for n, rows in sizes.items():
        lines = [f"| {int(n):,} vectors | {' | '.join(_HEADS)} |", f"| --- |{' ---: |' * len(_HEADS)}"]
        lines += [f"| {name} | {' | '.join(_cells(row))} |" for name, row in rows.items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    sizes = (row["bytes"] / 1e6, max(0.0, row["own_mb"]), max(0.0, row["mapped_mb"]))
    rates = (row["single_per_s"], row["batched_per_s"])
    return [
        f"{row['cpu_s']:.1f}",
        *(f"{size:.0f}" for size in sizes),
        *(f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}" for rate in rates),
        "exact" if row["width"] is None else f"{row['recall_at_10']:.3f}",
    ]


def draw(sizes: Results, path: Path) -> None:
    """Recall against rate of the largest library, and rate against size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    largest = max(sizes, key=int)
    colours = {name: f"C{number}" for number, name in enumerate(_names(sizes))}
    for name, row in sizes[largest].items():
        curve = [(point["single_per_s"], point["recall_at_10"]) for point in row["curve"]]
        left.plot(*zip(*curve, strict=True), "o-", color=colours[name], label=name, markersize=4)
    left.axhline(0.99, color="grey", linewidth=0.8, linestyle=":")
    left.set(xscale="log", xlabel="single queries a second", ylabel="recall@10", ylim=(0.9, 1.003))
    left.set_title(f"{int(largest):,} vectors")
    for name in _names(sizes):
        points = [(int(n), rows[name]["single_per_s"]) for n, rows in sizes.items() if name in rows]
        right.plot(*zip(*sorted(points), strict=True), "o-", color=colours[name], label=name, markersize=4)
    right.set(xscale="log", yscale="log", xlabel="vectors", ylabel="single queries a second")
    right.set_title("at a recall of 0.99 or more")
    right.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, metadata={"Date": None})


def _names(sizes: Results) -> list[str]:
    return list(dict.fromkeys(name for rows in sizes.values() for name in rows))
