"""One contender, once, in a process of its own: prints its CPU seconds since its start and its peak memory.

python benchmarks/feature_cost/fresh_process.py ours|plain AUDIO_FILE
"""

import json
import sys
import time
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from feature_cost.machine import peak_mb

    contender, path = sys.argv[1], Path(sys.argv[2])
    if contender == "ours":
        from audio_assets.audio import decode_mono
        from audio_assets.features import SAMPLE_RATE_HZ, extract_features

        extract_features(decode_mono(path, SAMPLE_RATE_HZ).samples, "fast")
    else:
        import librosa
        from plain_contract import plain_features

        plain_features(librosa.load(path, sr=44_100)[0])
    json.dump({"cpu_s": time.process_time(), "peak_mb": peak_mb()}, sys.stdout)


if __name__ == "__main__":
    main()
