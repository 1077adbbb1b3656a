"""Results as Markdown tables, between the markers of `benchmarks/README.md`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

START, END = "<!-- figures of features.json -->", "<!-- end of figures -->"

LABELS = {
    "ours": "**audio-assets, from the file**",
    "plain": "the contract, the plain way, from the file",
    "rhythmextractor2013": "RhythmExtractor2013 alone, instance reused",
    "rhythmextractor2013_new": "RhythmExtractor2013 alone, new instance",
    "musicextractor": "essentia MusicExtractor, from the file (other descriptors)",
    "librosa": "librosa's 14 of the 56 features, naively",
}


def write_into(readme: Path, results: Mapping[str, Any]) -> None:
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{START}\n{markdown(results)}\n{END}{after}", encoding="utf-8")


def markdown(results: Mapping[str, Any]) -> str:
    return "\n\n".join(
        [
            *(headline(results), side_by_side(results), lengths(results), tracks(results)),
            *(memory(results), start_up(results), guard(results)),
        ]
    )


def headline(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{results['music']}. {machine['cpu']}, {machine['cores']} cores, load {machine['load_before']} "
        f"before the run; {versions}; extractor {machine['extractor']}; rounds: {results['rounds']}."
    )


def side_by_side(results: Mapping[str, Any]) -> str:
    short, long = results["wav_30_s"], results["ogg_4_min"]
    rows = []
    for name, label in LABELS.items():
        cells = [cell for of in (short, long) for cell in (f"{of[name]['whole_s']:.3f}", times(of, name))]
        rows.append([label, *cells])
        if short[name]["decode_s"]:
            parts = [cell for of in (short, long) for cell in (f"{of[name]['decode_s']:.3f}", "")]
            rows.append(["… of it decoding", *parts])
    header = [
        *("CPU seconds a clip", f"30-s wav ({short['clips']} clips)", "ratio"),
        *(f"4-min ogg ({long['clips']} clips)", "ratio"),
    ]
    return table(header, rows) + (
        f"\n\nA ratio is the other's cost to ours. From samples, without decoding, the plain way costs "
        f"{results['ratio_vs_plain_from_samples']:.1f} times ours (30 s)."
    )


def times(costs: Mapping[str, Any], name: str) -> str:
    return f"{costs[name]['whole_s'] / costs['ours']['whole_s']:.1f}x"


def lengths(results: Mapping[str, Any]) -> str:
    rows = []
    for of in results["lengths"]:
        minutes = of["duration_s"] / 60
        names = ("ours", "plain", "rhythmextractor2013")
        per_minute = [f"{of[name]['whole_s'] / minutes:.3f}" for name in names]
        rows.append([duration(of["duration_s"]), *per_minute, times(of, "plain")])
    return table(
        ["CPU seconds a minute of wav", "ours", "plain", "RhythmExtractor2013", "plain / ours"], rows
    )


def tracks(results: Mapping[str, Any]) -> str:
    counts = results["track_counts"]
    rows = [
        ["CPU seconds a track", *(f"{of['cpu_s_per_track']:.3f}" for of in counts)],
        ["peak memory of the worker, MB", *(f"{of['worker_peak_mb']:.0f}" for of in counts)],
    ]
    pool = results["throughput"]
    return table(["30-s tracks through one worker", *(str(of["tracks"]) for of in counts)], rows) + (
        f"\n\nThrough `IsolatedPool`, warm, wall time, best of the rounds of {pool['tracks']} tracks: "
        f"{pool['tracks_per_s_1_worker']:.1f} tracks/s with one worker, "
        f"{pool['tracks_per_s_2_workers']:.1f} with two: {results['scaling_2_workers']:.2f}x."
    )


def memory(results: Mapping[str, Any]) -> str:
    peaks = results["memory_mb"]
    columns = sorted({float(length) for of in peaks.values() for length in of})
    rows = [
        [label, *(f"{peaks[name][str(int(s))]:.0f}" if str(int(s)) in peaks[name] else "-" for s in columns)]
        for name, label in (("ours", "ours"), ("plain", "plain"))
    ]
    header = ["Peak memory of a fresh process, MB, stereo wav", *map(duration, columns)]
    return table(header, rows)


def start_up(results: Mapping[str, Any]) -> str:
    rows = [
        [name, *(f"{of[cache]['cpu_s']:.1f} ({of[cache]['wall_s']:.1f})" for cache in ("cold", "warm"))]
        for name, of in results["start_up"].items()
    ]
    header = ["Process start to first row of a 30-s clip, CPU s (wall s)", "empty kernel cache", "filled"]
    return table(header, rows)


def guard(results: Mapping[str, Any]) -> str:
    found = results["agreement"]
    return (
        f"The same is computed: {found['same_beats']} of {found['clips']} clips have the beats of the plain "
        "way. The largest relative deviation among a clip's 56 numbers (without the beats' own columns where "
        f"the beats are others) is {found['median_of_largest']:.1e} in the median clip, "
        f"{found['largest']:.1e} in the worst (`{found['largest_column']}`)."
    )


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
