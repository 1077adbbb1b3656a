"""How far the fast extractor's features are from the reference's, written into docs/features.md.

    make feature-agreement MUSIC=FOLDER      or: python benchmarks/feature_agreement.py FOLDER...

One clip of 30 s from the beginning and one from the middle of each audio file below the folders, the whole
file where it is short. Files below 10 s, which are sound effects, and what cannot be decoded or analysed are
named and left out. Relative deviation |fast - reference| / |reference|; beat columns only of the clips whose
beats are identical, since one other decision moves all of them. For each clip the reference is also asked
what it makes of the same samples with noise of 1e-7 of their peak: how far a value moves there is how far it
is defined at all.
"""

import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import audio_assets.one_thread  # noqa: F401 - before numpy, which reads the environment once

# isort: split
import numpy as np
from numpy.typing import NDArray

from audio_assets.audio import decode_mono
from audio_assets.failures import TrackFailure
from audio_assets.features import FEATURE_NAMES, SAMPLE_RATE_HZ, extract_features
from audio_assets.features.agreement import relative_tolerance
from audio_assets.features.fast import warm
from audio_assets.features.fast.beats import track_beats
from audio_assets.features.fast.onset_scan import scan_onsets
from audio_assets.features.records import Columns
from audio_assets.features.reference.rhythm import track_beats as reference_beats

DOCUMENT = Path(__file__).parents[1] / "docs/features.md"
BEGIN, END = "<!-- written by benchmarks/feature_agreement.py -->\n", "<!-- end of what it writes -->\n"

CLIP = 30 * SAMPLE_RATE_HZ
#: Where clips begin, as shares of what a clip leaves of the file.
STARTS = (0.03, 0.5)
SHORTEST = 10 * SAMPLE_RATE_HZ
NOISE = 1e-7
KEY = ("is_minor", "key_cos", "key_sin")
BEAT_COLUMNS = ("beat_", "beats_", "bpm_")


@dataclass(frozen=True)
class Comparison:
    """How far one clip's values are from the reference's; beat columns are left out where beats differ."""

    clip: str
    same_beats: bool
    deviations: dict[str, float]

    @property
    def same_key(self) -> bool:
        return all(self.deviations[column] < 1e-9 for column in KEY)

    @property
    def same_tempo(self) -> bool:
        return self.deviations["tempo_bpm"] == 0


def clips(folder: Path) -> Iterator[tuple[Path, str, NDArray[np.float32]]]:
    """File, name and samples of each clip."""
    for path in (path for path in sorted(folder.rglob("*")) if path.is_file()):
        try:
            samples = decode_mono(path, SAMPLE_RATE_HZ).samples
        except TrackFailure as failure:
            print(f"left out: {path.name}: {failure}", file=sys.stderr)
            continue
        if len(samples) < SHORTEST:
            print(f"left out: {path.name}: {len(samples) / SAMPLE_RATE_HZ:.1f} s", file=sys.stderr)
        elif len(samples) <= 1.5 * CLIP:
            yield path, path.name, samples[:CLIP]
        else:
            for start in np.array(STARTS) * (len(samples) - CLIP):
                name = f"{path.name}@{start / SAMPLE_RATE_HZ:.0f}s"
                yield path, name, samples[int(start) : int(start) + CLIP]


def with_noise(name: str, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(len(samples))
    return (samples + NOISE * np.abs(samples).max() * noise).astype(np.float32)


def deviation(value: float | None, reference: float | None) -> float:
    if value == reference:
        return 0.0
    if value is None or reference is None:
        return np.inf
    return abs(value - reference) / max(abs(reference), 1e-12)


def compared(name: str, values: Columns, reference: Columns, same_beats: bool) -> Comparison:
    judged = (c for c in FEATURE_NAMES if same_beats or not c.startswith(BEAT_COLUMNS))
    return Comparison(name, same_beats, {c: deviation(values[c], reference[c]) for c in judged})


def compare(name: str, samples: NDArray[np.float32]) -> tuple[Comparison, Comparison]:
    """Deviations of the fast extractor, and of the reference under noise."""
    noisy = with_noise(name, samples)
    reference, beats_s = extract_features(samples, "reference"), reference_beats(samples)[0]
    fast_beats_s = track_beats(scan_onsets(samples).functions)
    same, same_noisy = (np.array_equal(x, beats_s) for x in (fast_beats_s, reference_beats(noisy)[0]))
    fast = compared(name, extract_features(samples, "fast"), reference, same)
    return fast, compared(name, extract_features(noisy, "reference"), reference, same_noisy)


def decisions(fast: list[Comparison], noisy: list[Comparison]) -> Iterator[str]:
    yield "| decision | fast as the reference | reference under noise as without | other in |"
    yield "|---|---|---|---|"
    for decision in ("same_beats", "same_key", "same_tempo"):
        shares = [f"{100 * np.mean([getattr(c, decision) for c in side]):.1f} %" for side in (fast, noisy)]
        others = [
            f"{c.clip} (the reference under noise: {'same' if getattr(moved, decision) else 'other'})"
            for c, moved in zip(fast, noisy, strict=True)
            if not getattr(c, decision)
        ]
        yield f"| {decision.removeprefix('same_')} | {' | '.join(shares)} | {', '.join(others) or '-'} |"


def columns(fast: list[Comparison], noisy: list[Comparison]) -> Iterator[str]:
    yield "| column | median | 95 % | max | reference under noise: max |\n|---|---|---|---|---|"
    for column in FEATURE_NAMES:
        own, moved = (
            [c.deviations[column] for c in side if column in c.deviations] for side in (fast, noisy)
        )
        figures = (np.median(own), np.quantile(own, 0.95), max(own), max(moved))
        yield f"| {column} | {' | '.join(f'{figure:.1e}' for figure in figures)} |"


def exceptions(fast: list[Comparison], noisy: list[Comparison]) -> Iterator[str]:
    yield "| clip | column | fast | reference under noise |\n|---|---|---|---|"
    for of_clip, moved in zip(fast, noisy, strict=True):
        for column, value in of_clip.deviations.items():
            if value > relative_tolerance(column):
                noise = moved.deviations.get(column, np.inf)
                yield f"| {of_clip.clip} | {column} | {value:.1e} | {noise:.1e} |"


def count(files: Iterable[tuple[Path, Path]], clip_count: int) -> str:
    """How many clips of how many different files were compared, folder by folder."""
    per_folder = Counter(folder.resolve().name for folder, _ in files)
    parts = ", ".join(f"{number} in `{name}`" for name, number in per_folder.items())
    return f"{clip_count} clips of {per_folder.total()} files ({parts})."


def main() -> None:
    warm()  # its parts are called one by one, each of which would compile for itself
    fast, noisy, files = [], [], {}
    for folder in map(Path, sys.argv[1:]):
        for path, name, samples in clips(folder):
            try:
                pair = compare(name, samples)
            except TrackFailure as failure:
                print(f"left out: {name}: {failure}", file=sys.stderr)
                continue
            fast.append(pair[0])
            noisy.append(pair[1])
            files[folder, path] = None
            print(f"{len(fast)} clips", end="\r", file=sys.stderr)
    tables = (decisions(fast, noisy), columns(fast, noisy), exceptions(fast, noisy))
    titles = (count(files, len(fast)), "Relative deviations:", "Beyond 1e-5 (inharmonicity: 5e-4):")
    parts = ["\n".join([title, "", *table]) for title, table in zip(titles, tables, strict=True)]
    before, rest = DOCUMENT.read_text().split(BEGIN)
    DOCUMENT.write_text("".join((before, BEGIN, "\n", "\n\n".join(parts), "\n\n", END, rest.split(END)[1])))


if __name__ == "__main__":
    main()
