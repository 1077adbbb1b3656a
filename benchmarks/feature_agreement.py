"""How far the fast extractor's features are from the reference's, as a Markdown table.

    python benchmarks/feature_agreement.py FOLDER

Up to four clips of 30 s from each audio file below the folder; files that cannot be decoded are named and
left out. Relative deviation |fast - reference| / |reference|; beat columns only of the clips whose beats are
identical, since one other decision moves all of them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import audio_assets.one_thread  # noqa: F401 - before numpy, which reads the environment once

# isort: split
import numpy as np
from numpy.typing import NDArray

from audio_assets.audio import decode_mono
from audio_assets.failures import TrackFailure
from audio_assets.features import FEATURE_NAMES, SAMPLE_RATE_HZ, extract_features
from audio_assets.features.fast.beats import track_beats
from audio_assets.features.fast.onset_scan import scan_onsets
from audio_assets.features.fast.spectra import track_spectra
from audio_assets.features.reference.rhythm import track_beats as reference_beats

CLIP = 30 * SAMPLE_RATE_HZ
CLIPS_A_FILE = 4
KEY = ("is_minor", "key_cos", "key_sin")
BEAT_COLUMNS = ("beat_", "beats_", "bpm_")


def clips(folder: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            samples = decode_mono(path, SAMPLE_RATE_HZ).samples
        except TrackFailure as failure:
            print(f"left out: {path.name}: {failure}", file=sys.stderr)
            continue
        if len(samples) <= 1.5 * CLIP:
            yield path.name, samples[:CLIP]
            continue
        for start in np.linspace(0.03, 0.97, CLIPS_A_FILE) * (len(samples) - CLIP):
            yield f"{path.name}@{start / SAMPLE_RATE_HZ:.0f}s", samples[int(start) : int(start) + CLIP]


def deviation(fast: float | None, reference: float | None) -> float:
    if fast == reference:
        return 0.0
    if fast is None or reference is None:
        return np.inf
    return abs(fast - reference) / max(abs(reference), 1e-12)


def same_beats(samples: NDArray[np.float32]) -> bool:
    beats_s = track_beats(scan_onsets(track_spectra(samples)).functions)
    return np.array_equal(beats_s, reference_beats(samples)[0])


def main() -> None:
    deviations: dict[str, list[float]] = {name: [] for name in FEATURE_NAMES}
    clip_count, other_beats, other_key, other_tempo = 0, [], [], []
    for name, samples in clips(Path(sys.argv[1])):
        try:
            reference = extract_features(samples, "reference")
        except TrackFailure as failure:
            print(f"left out: {name}: {failure}", file=sys.stderr)
            continue
        fast = extract_features(samples, "fast")
        clip_count += 1
        of_clip = {column: deviation(fast[column], reference[column]) for column in FEATURE_NAMES}
        beats_differ = not same_beats(samples)
        other_beats += [name] * beats_differ
        other_key += [name] * any(of_clip[column] > 1e-9 for column in KEY)
        other_tempo += [name] * (of_clip["tempo_bpm"] > 0)
        for column, value in of_clip.items():
            if not (beats_differ and column.startswith(BEAT_COLUMNS)):
                deviations[column].append(value)
    print(f"{clip_count} clips\n")
    for what, names in (("beats", other_beats), ("key", other_key), ("tempo", other_tempo)):
        share = 100 * (1 - len(names) / clip_count)
        print(f"- identical {what}: {share:.1f} %{' (other: ' + ', '.join(names) + ')' if names else ''}")
    print("\n| column | median | 95 % | max |\n|---|---|---|---|")
    for column, values in deviations.items():
        print(f"| {column} | {np.median(values):.1e} | {np.quantile(values, 0.95):.1e} | {max(values):.1e} |")


if __name__ == "__main__":
    main()
