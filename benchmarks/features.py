"""CPU seconds for the 56 features of a 30-s clip: the reference, the fast extractor, and their ratio.

    python benchmarks/features.py [AUDIO_FILE]

One thread, warm, in one process; without a file the clip is a song of the demo library's synthesiser. The
clip's two times are taken in turn, so that both meet the same weather on a busy machine.
"""

import sys
import time
from pathlib import Path

import audio_assets.audio._one_thread  # noqa: F401 - before numpy, which reads the environment once

# isort: split
import numpy as np
from numpy.typing import NDArray

from audio_assets.audio import decode_mono
from audio_assets.features import EXTRACTOR_VERSIONS, SAMPLE_RATE_HZ, Extractor, extract_features

CLIP_S = 30
ROUNDS = 10


def clip(path: Path | None) -> NDArray[np.float32]:
    if path:
        samples = decode_mono(path, SAMPLE_RATE_HZ).samples
    else:
        sys.path.append(str(Path(__file__).parents[1] / "tests"))
        import signals

        samples = signals.band(CLIP_S)
    return samples[: CLIP_S * SAMPLE_RATE_HZ]


def cpu_s(samples: NDArray[np.float32], extractor: Extractor) -> float:
    started = time.process_time()
    extract_features(samples, extractor)
    return time.process_time() - started


def main() -> None:
    samples = clip(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    for extractor in EXTRACTOR_VERSIONS:
        cpu_s(samples, extractor)  # imports, kernels, tables
    rounds = [{name: cpu_s(samples, name) for name in EXTRACTOR_VERSIONS} for _ in range(ROUNDS)]
    print(f"CPU seconds of {len(samples) / SAMPLE_RATE_HZ:.1f} s of audio, {ROUNDS} rounds")
    print(f"{'version':<12} {'median':>8} {'best':>8}")
    for name, version in EXTRACTOR_VERSIONS.items():
        times = [times[name] for times in rounds]
        print(f"{version:<12} {np.median(times):8.4f} {min(times):8.4f}")
    ratios = [times["reference"] / times["fast"] for times in rounds]
    print(f"reference / fast: {np.median(ratios):.1f} (median of the rounds)")


if __name__ == "__main__":
    main()
