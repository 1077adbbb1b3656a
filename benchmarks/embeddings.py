"""CLAP embeddings: time a window against the plain transformers loop, share of the GEMM peak, precision.

    python benchmarks/embeddings.py FOLDER [--work FOLDER] [--rounds N]

FOLDER holds music. The model has the architecture of ``larger_clap_music`` and seeded random weights; it and
its exported network are kept below --work. Ratios are of CPU time on one core, both sides in turn on the
same windows, medians over the rounds; so they roughly hold on a machine that has other things to do. The
pipeline uses all cores and wall time, and wants the machine for itself.

Prints a report, writes ``results/embeddings.json`` and ``results/embeddings.svg``.
"""

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_assets.audio import IsolatedPool, decode_mono
from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
from audio_assets.embeddings import (
    SAMPLE_RATE_HZ,
    Checkpoint,
    ClapEncoder,
    ModelUnusableError,
    Windowing,
    cut_windows,
    pool_windows,
    resolve_checkpoint,
    resolve_precision,
    to_log_mel,
)
from audio_assets.failures import TrackFailure

RESULTS = Path(__file__).parent / "results"
STOCK_BATCH = 8
CLIP_S = 30
CLIPS = 24
PIPELINE_CLIPS = 48
AUDIO_CONFIG = {
    "depths": [2, 2, 12, 2],
    "num_attention_heads": [4, 8, 16, 32],
    "hidden_size": 1024,
    "patch_embeds_hidden_size": 128,
    "patch_size": 4,
    "patch_stride": [4, 4],
}
STOCK = "transformers loop, float32"

Windows = NDArray[np.float32]
Embed = Callable[[Windows], NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", type=Path)
    parser.add_argument("--work", type=Path, default=Path("data/bench"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    checkpoint = full_size_checkpoint(options.work / "clap-random-weights")
    clips = read_clips(options.music, options.work / "clips")
    windows = np.concatenate(
        [cut_windows(decode_mono(clip, SAMPLE_RATE_HZ).samples, Windowing()) for clip in clips]
    )
    ours = encoders(checkpoint, options.work)
    report: dict[str, Any] = {"machine": machine(), "load_average_before": os.getloadavg()[0]}
    report |= precision_report(ours, windows)
    report["pipeline"] = {
        name: run_pipeline(ours[name], clips)
        for name in ours
        if name == default_name() or name.startswith("openvino, b")
    }
    report["model_busy_share"] = report["pipeline"][default_name()]["model_busy_share"]
    if hasattr(os, "sched_setaffinity"):  # from here on one core, and so encoders with one lane
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    report |= speed_report(encoders(checkpoint, options.work), checkpoint, windows, options.rounds)
    report["load_average_after"] = os.getloadavg()[0]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "embeddings.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "embeddings.svg").write_text(plot(report["speed"]), encoding="utf-8")
    print(json.dumps(report, indent=1))


def default_name() -> str:
    return f"torch, {resolve_precision('auto', 'cpu')}"


def encoders(checkpoint: Checkpoint, work: Path) -> dict[str, ClapEncoder]:
    """Make one encoder for each backend and precision that works here."""
    fast = resolve_precision("auto", "cpu")
    found = {}
    for backend in ("torch", "openvino"):
        for precision in dict.fromkeys((fast, "float32")):
            try:
                found[f"{backend}, {precision}"] = ClapEncoder(
                    checkpoint, device="cpu", precision=precision, backend=backend, cache_dir=work
                )
            except ModelUnusableError as error:
                print(f"left out: {backend}, {precision}: {error}", file=sys.stderr)
    return found


def full_size_checkpoint(folder: Path) -> Checkpoint:
    """Make a checkpoint of the full architecture, with the demo checkpoint's processor and BatchNorm."""
    if not (folder / "model.safetensors").exists():
        import torch
        from transformers import ClapConfig, ClapModel, ClapProcessor

        demo = copy_demo_checkpoint(folder.parent / "demo-clap")
        config = ClapConfig.from_pretrained(demo)
        config.audio_config = type(config.audio_config)(projection_dim=512, **AUDIO_CONFIG)
        torch.manual_seed(0)
        model = ClapModel(config)
        # As in the demo checkpoint: mean and variance of log-mel spectrograms of music, in dB.
        theirs = ClapModel.from_pretrained(demo).audio_model.audio_encoder.batch_norm
        model.audio_model.audio_encoder.batch_norm.load_state_dict(theirs.state_dict())
        model.save_pretrained(folder)
        ClapProcessor.from_pretrained(demo).save_pretrained(folder)
    return resolve_checkpoint(str(folder), "", Path(), offline=True)


def read_clips(music: Path, folder: Path) -> list[Path]:
    """Cut 30-s clips out of the music, as FLAC files of 44.1 kHz."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.glob("*.flac"))) < CLIPS:
        songs = []
        for path in sorted(
            path for path in music.rglob("*") if path.suffix in {".mp3", ".ogg", ".flac", ".wav"}
        ):
            try:
                samples = decode_mono(path, 44_100).samples
            except TrackFailure as failure:
                print(f"left out: {path.name}: {failure}", file=sys.stderr)
                continue
            if len(samples) > CLIP_S * 44_100:
                songs.append((path.stem, samples))
        if not songs:
            sys.exit(f"no audio of more than {CLIP_S} s below {music}")
        for i in range(CLIPS):
            name, samples = songs[i % len(songs)]
            start = (i // len(songs) + 1) * (len(samples) - CLIP_S * 44_100) // (CLIPS // len(songs) + 2)
            clip = samples[start : start + CLIP_S * 44_100]
            soundfile.write(folder / f"{i:02}-{name}.flac", np.stack([clip, clip], axis=1), 44_100)
    return sorted(folder.glob("*.flac"))[:CLIPS]


# --- precision


def precision_report(ours: dict[str, ClapEncoder], windows: Windows) -> dict[str, Any]:
    """Cosine against float32, of windows and of tracks, as they are and with each set's mean taken off."""
    log_mels = to_log_mel(windows)
    vectors = {name: encoder.embed_log_mel(log_mels) for name, encoder in ours.items()}
    exact = vectors["torch, float32"]
    shuffled = np.random.default_rng(0).permutation(len(log_mels))[:13]
    report = {}
    for name, encoder in ours.items():
        alone = encoder.embed_log_mel(log_mels[shuffled])
        report[name] = {
            "cosine_min": cosine_min(vectors[name], exact),
            "cosine_min_centred": cosine_min(centre(vectors[name]), centre(exact)),
            "cosine_min_centred_tracks": cosine_min(centre(tracks(vectors[name])), centre(tracks(exact))),
            "same_bits_in_other_company": bool((alone == vectors[name][shuffled]).all()),
        }
    return {
        "n_windows": len(windows),
        "mean_pairwise_cosine_float32": float((exact @ exact.T).mean()),
        "precision": report,
        "cosine_min_centred_default": report[default_name()]["cosine_min_centred"],
        "log_mel_max_abs_difference_db": log_mel_difference(windows[:24]),
    }


def tracks(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([pool_windows(of_track) for of_track in vectors.reshape(-1, 3, vectors.shape[1])])


def centre(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    return vectors - vectors.mean(axis=0, dtype=np.float64)


def cosine_min(a: NDArray[Any], b: NDArray[Any]) -> float:
    a, b = (
        v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True) for v in (a, b)
    )
    return float((a * b).sum(axis=1).min())


def log_mel_difference(windows: Windows) -> float:
    from transformers import ClapFeatureExtractor

    stock = ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation="rand_trunc")
    theirs = stock(list(windows), sampling_rate=SAMPLE_RATE_HZ, return_tensors="np")["input_features"][:, 0]
    return float(np.abs(to_log_mel(windows) - theirs).max())


# --- speed of one thread


def speed_report(
    ours: dict[str, ClapEncoder], checkpoint: Checkpoint, windows: Windows, rounds_wanted: int
) -> dict[str, Any]:
    """CPU seconds from samples to vectors; all ways in turn in every round."""
    import torch

    torch.set_num_threads(1)
    assert {encoder.lanes for encoder in ours.values()} == {1}
    stock = stock_loop(checkpoint)
    ways: dict[str, Embed] = {
        STOCK: stock,
        **{name: partial(embed, encoder) for name, encoder in ours.items()},
    }
    for way in ways.values():
        way(windows[:4])
    gflop = gflop_a_window(checkpoint)
    peaks = {precision: gemm_peak_gflops(precision) for precision in ("float32", "bfloat16")}
    clips = [
        np.concatenate([windows[i], windows[i + 1], windows[i + 2]]) for i in range(0, 3 * STOCK_BATCH, 3)
    ]
    rounds = []
    for _ in range(rounds_wanted):
        times = {name: cpu_s(way, windows[:STOCK_BATCH]) / STOCK_BATCH for name, way in ways.items()}
        times["crops"] = cpu_s(stock, clips) / len(clips)
        times["tracks"] = cpu_s(partial(embed_clips, ours[default_name()]), clips) / len(clips)
        rounds.append(times)
        print({name: round(1000 * value) for name, value in times.items()}, file=sys.stderr)
    speed = {}
    for name in ways:
        seconds = float(np.median([times[name] for times in rounds]))
        peak = peaks["bfloat16" if "bfloat16" in name else "float32"]
        speed[name] = {
            "cpu_ms_a_window": round(1000 * seconds, 1),
            "ratio": round(float(np.median([times[STOCK] / times[name] for times in rounds])), 3),
            "windows_per_s_a_core": round(1 / seconds, 2),
            "share_of_gemm_peak": round(gflop / seconds / peak, 3),
        }
    optional = [value["ratio"] for name, value in speed.items() if name.startswith("openvino")]
    return {
        "speed": speed,
        "front_end_cpu_ms_a_window": round(1000 * cpu_s(to_log_mel, windows[:8]) / 8, 2),
        "gflop_a_window": round(gflop, 2),
        "gemm_peak_gflops_a_core": {name: round(value, 1) for name, value in peaks.items()},
        "ratio_torch": speed[default_name()]["ratio"],
        "ratio_optional_backend": max(optional) if optional else None,
        "track_of_three_windows_over_one_crop": round(
            float(np.median([times["tracks"] / times["crops"] for times in rounds])), 3
        ),
    }


def stock_loop(checkpoint: Checkpoint) -> Callable[[Any], NDArray[np.float32]]:
    import torch
    from transformers import ClapModel, ClapProcessor

    model = ClapModel.from_pretrained(checkpoint.path).eval()
    processor = ClapProcessor.from_pretrained(checkpoint.path)

    def run(clips: Any) -> NDArray[np.float32]:
        inputs = processor(audio=list(clips), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            return model.get_audio_features(**inputs).pooler_output.numpy()  # type: ignore[no-any-return]

    return run


def embed(encoder: ClapEncoder, windows: Windows) -> NDArray[np.float32]:
    return encoder.embed_log_mel(to_log_mel(windows))


def embed_clips(encoder: ClapEncoder, clips: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    heard = ((None, to_log_mel(cut_windows(clip, Windowing()))) for clip in clips)
    return [pool_windows(track.vectors) for _, track in encoder.embed_tracks(heard)]


def cpu_s(function: Callable[[Any], Any], argument: Any) -> float:
    started = time.process_time()
    function(argument)
    return time.process_time() - started


def gflop_a_window(checkpoint: Checkpoint) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from audio_assets.embeddings.towers import AudioTower

    tower = AudioTower(checkpoint, "cpu", "float32")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tower.model(input_features=torch.zeros(1, 1, 1001, 64))
    return counter.get_total_flops() / 1e9


def gemm_peak_gflops(precision: str) -> float:
    """Best of many products of square matrices, one thread."""
    import torch

    best = 0.0
    for size in (1024, 2048):
        a, b = (torch.randn(size, size).to(getattr(torch, precision)) for _ in range(2))
        times = [cpu_s(lambda pair: pair[0] @ pair[1], (a, b)) for _ in range(12)]
        best = max(best, 2 * size**3 / min(times) / 1e9)
    return best


# --- the pipeline on all cores


def hear(path: Path) -> NDArray[np.float32]:
    return to_log_mel(cut_windows(decode_mono(path, SAMPLE_RATE_HZ).samples, Windowing()))


def run_pipeline(encoder: ClapEncoder, clips: list[Path]) -> dict[str, float]:
    """Files to vectors, as the asset does it: workers decode ahead, every core is a lane of the model."""
    todo = (clips * (PIPELINE_CLIPS // len(clips) + 1))[:PIPELINE_CLIPS]
    n_windows, busy_s = 0, 0.0
    with IsolatedPool(workers=encoder.lanes, timeout_s=600) as pool:
        list(pool.map_unordered(hear, todo[: encoder.lanes]))  # imports
        started, cpu_before = time.monotonic(), time.process_time()
        for _, track in encoder.embed_tracks(pool.map_unordered(hear, todo)):  # type: ignore[arg-type]
            n_windows += len(track.vectors)
            busy_s += track.elapsed_s
        wall_s, model_cpu_s = time.monotonic() - started, time.process_time() - cpu_before
    return {
        "n_tracks": len(todo),
        "windows_per_s": round(n_windows / wall_s, 2),
        "model_busy_share": round(busy_s / wall_s / encoder.lanes, 3),
        "model_cpu_share": round(model_cpu_s / wall_s / encoder.lanes, 3),
        "lanes": encoder.lanes,
    }


# --- report


def machine() -> dict[str, str | int | None]:
    cpu_info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpu_info.read_text()) if cpu_info.exists() else None
    libraries = ("torch", "transformers", "openvino", "numpy", "scipy")
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }


def plot(speed: dict[str, dict[str, float]]) -> str:
    """Bars of CPU time a window, the part at the peak of matrix products dark."""
    longest = max(way["cpu_ms_a_window"] for way in speed.values())
    rows = []
    for i, (name, way) in enumerate(speed.items()):
        y, width = 44 + 44 * i, 420 * way["cpu_ms_a_window"] / longest
        at_peak = width * way["share_of_gemm_peak"]
        rows.append(
            f'<text x="8" y="{y + 19}">{name}</text>'
            f'<rect x="210" y="{y}" width="{width:.0f}" height="28" fill="#9bb8d3"/>'
            f'<rect x="210" y="{y}" width="{at_peak:.0f}" height="28" fill="#2f5d8a"/>'
            f'<text x="{216 + width:.0f}" y="{y + 19}">{way["cpu_ms_a_window"]:.0f} ms, '
            f"{way['ratio']:.2f}x, {way['share_of_gemm_peak']:.0%} of peak</text>"
        )
    height = 60 + 44 * len(speed)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{height}" font-family="sans-serif" '
        f'font-size="13"><rect width="860" height="{height}" fill="white"/>'
        '<text x="8" y="24" font-weight="bold">CPU time for a 10-s window on one core '
        "(dark: what its matrix products take at the measured GEMM peak)</text>"
        f"{''.join(rows)}</svg>\n"
    )


if __name__ == "__main__":
    main()
