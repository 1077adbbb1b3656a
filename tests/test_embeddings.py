"""Embeddings: windows, encoder, pooling, statistics and normalisation."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ClapFeatureExtractor, ClapModel, ClapProcessor

from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
from audio_assets.embeddings import (
    SAMPLE_RATE_HZ,
    WINDOW_SAMPLES,
    Checkpoint,
    ClapEncoder,
    CosineStatistics,
    MeanAccumulator,
    ModelUnusableError,
    TextTower,
    Windowing,
    centre_and_normalise,
    cut_windows,
    pool_windows,
    resolve_checkpoint,
    sanity_record,
    to_log_mel,
)
from audio_assets.failures import FailureCode, TrackFailure


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory) -> Path:
    return copy_demo_checkpoint(tmp_path_factory.mktemp("models") / "demo")


@pytest.fixture(scope="module")
def checkpoint(demo_folder) -> Checkpoint:
    return local_checkpoint(demo_folder)


@pytest.fixture(scope="module")
def encoder(checkpoint) -> ClapEncoder:
    return ClapEncoder(checkpoint, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def text_tower(checkpoint) -> TextTower:
    return TextTower(checkpoint, "cpu")


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return np.stack([tone(10.0, 110.0 * 1.3**k, seed=k) for k in range(6)])


@pytest.fixture
def copied(demo_folder, tmp_path) -> Path:
    return Path(shutil.copytree(demo_folder, tmp_path / "copied"))


def local_checkpoint(folder: Path) -> Checkpoint:
    return resolve_checkpoint(str(folder), "ignored", Path("unused"), offline=True)


def tone(duration_s: float, f0_hz: float, seed: int) -> np.ndarray:
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    partials = sum(np.sin(2 * np.pi * f0_hz * k * time_s) / k for k in range(1, 6))
    noise = np.random.default_rng(seed).standard_normal(len(time_s)) * 0.02 * (seed + 1)
    return (0.2 * partials * np.exp(-(time_s % 0.5) * 5) + noise).astype(np.float32)


def embed(encoder: ClapEncoder, windows: np.ndarray) -> np.ndarray:
    return encoder.embed_log_mel(to_log_mel(windows))


# --- windows


@pytest.mark.parametrize(
    ("duration_s", "max_windows", "starts_s"),
    [
        (10.0, 6, [0]),
        (10.04, 6, [0.02]),
        (12.0, 6, [0, 2]),
        (30.0, 6, [0, 10, 20]),
        (30.04, 6, [0.00667, 10.02, 20.0333]),
        (30.0, 2, [2.5, 17.5]),
        (90.0, 6, [2.5, 17.5, 32.5, 47.5, 62.5, 77.5]),
    ],
)
def test_windows_are_spread_over_the_track(duration_s, max_windows, starts_s):
    position = np.arange(round(duration_s * SAMPLE_RATE_HZ), dtype=np.float32)
    windows = cut_windows(position, Windowing(max_windows))
    assert windows.dtype == np.float32
    np.testing.assert_allclose(windows[:, 0] / SAMPLE_RATE_HZ, starts_s, atol=1e-4)
    assert (windows[:, -1] - windows[:, 0] == WINDOW_SAMPLES - 1).all()


@pytest.mark.parametrize("duration_s", [0.001, 1.0, 3.3, 9.999])
def test_short_tracks_are_padded_as_the_stock_extractor_does(duration_s):
    samples = tone(duration_s, 220.0, seed=1)
    extractor = ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
    (window,) = cut_windows(samples, Windowing())
    stock, ours = (extractor(x, sampling_rate=SAMPLE_RATE_HZ)["input_features"][0] for x in (samples, window))
    np.testing.assert_array_equal(ours, stock)


def test_no_samples_is_a_track_failure():
    with pytest.raises(TrackFailure) as caught:
        cut_windows(np.empty(0, np.float32), Windowing())
    assert caught.value.code is FailureCode.TOO_SHORT


def test_no_windows_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Windowing(0)


# --- encoder


def test_embedding_equals_the_stock_model(demo_folder, encoder, windows):
    model = ClapModel.from_pretrained(demo_folder).eval()
    processor = ClapProcessor.from_pretrained(demo_folder)
    inputs = processor(audio=list(windows), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
    with torch.inference_mode():
        stock = model.get_audio_features(**inputs).pooler_output.numpy()
    np.testing.assert_allclose(embed(encoder, windows), stock, atol=1e-6)


def test_text_embedding_equals_the_stock_model(demo_folder, text_tower):
    texts = ["slow piano", "fast and angry metal with loud drums"]
    model = ClapModel.from_pretrained(demo_folder).eval()
    tokens = ClapProcessor.from_pretrained(demo_folder)(text=texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        stock = model.get_text_features(**tokens).pooler_output.numpy()
    np.testing.assert_allclose(text_tower.embed(texts), stock, atol=1e-6)


def test_overlong_text_is_cut_off(text_tower):
    assert np.isfinite(text_tower.embed(["jazz " * 5000])).all()


def test_long_track_gives_the_same_vector_whatever_the_random_state(encoder):
    track = np.concatenate([tone(7.0, f0_hz, seed=3) for f0_hz in (110, 220, 330, 440, 550)])
    vectors = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002 - the stock extractor crops with this very state
        vectors.append(pool_windows(embed(encoder, cut_windows(track, Windowing()))))
    np.testing.assert_array_equal(*vectors)


def test_different_sounds_get_different_vectors(encoder, windows):
    assert sanity_record(embed(encoder, windows)).mean_pairwise_cosine < 0.98


@pytest.mark.parametrize(
    ("name", "ours", "other"),
    [
        ("truncation", '"rand_trunc"', '"fusion"'),
        ("padding", '"repeatpad"', '"pad"'),
        ("hop_length", "480", "320"),
        ("frequency_min", "50", "0"),
        ("top_db", "null", "80"),
    ],
)
def test_checkpoints_with_another_front_end_are_refused(copied, name, ours, other):
    path = copied / "processor_config.json"
    text = path.read_text()
    assert f'"{name}": {ours}' in text
    path.write_text(text.replace(f'"{name}": {ours}', f'"{name}": {other}'))
    with pytest.raises(ModelUnusableError, match=f"front end .*{name} = "):
        ClapEncoder(local_checkpoint(copied))


def test_weights_without_a_parameter_are_refused(copied):
    state = load_file(copied / "model.safetensors")
    del state["audio_projection.linear2.bias"]
    save_file(state, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnusableError, match=r"audio_projection\.linear2\.bias"):
        ClapEncoder(local_checkpoint(copied))


# --- pooling


def test_pooling_weighs_windows_equally_and_gives_unit_length():
    x, y = np.eye(512, dtype=np.float32)[:2]
    pooled = pool_windows(np.stack([x, 100 * y]))
    np.testing.assert_allclose(pooled[:2], np.sqrt(0.5), rtol=1e-6)
    assert pooled.dtype == np.float32


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([[np.nan, 1.0]], FailureCode.NON_FINITE_RESULT),
        ([[np.inf, 1.0]], FailureCode.NON_FINITE_RESULT),
        ([[0.0, 0.0], [1.0, 0.0]], FailureCode.ZERO_NORM),
        ([[1.0, 0.0], [-1.0, 0.0]], FailureCode.ZERO_NORM),
    ],
)
def test_pooling_refuses_vectors_without_direction(rows, code):
    with pytest.raises(TrackFailure) as caught:
        pool_windows(np.array(rows, np.float32))
    assert caught.value.code is code


# --- statistics


def cone(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, 512)) * 0.3 + rng.standard_normal(512)).astype(np.float32)


@pytest.mark.parametrize("n", [2, 3, 150])
def test_cosine_statistics_equal_brute_force(n):
    vectors = cone(n)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(n, 1)]
    statistics = CosineStatistics()
    for block in np.array_split(vectors, [1, n // 2]):
        statistics.update(block)
    assert statistics.mean == pytest.approx(cosines.mean(), abs=1e-12)
    assert statistics.std == pytest.approx(cosines.std(), abs=1e-7)
    singular = np.linalg.svd(unit, compute_uv=False)
    share = singular / singular.sum()
    assert statistics.effective_rank == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)


@pytest.mark.parametrize(("vectors", "rank"), [(np.eye(7, 512), 7.0), (np.ones((7, 512)), 1.0)])
def test_effective_rank_counts_directions(vectors, rank):
    assert sanity_record(vectors).effective_rank == pytest.approx(rank)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows_have_no_pairwise_values(n):
    record = sanity_record(cone(2)[:n])
    assert (record.n_samples, record.n_dims) == (n, 512)
    assert record.mean_pairwise_cosine is record.std_pairwise_cosine is None
    assert (record.effective_rank is None) == (n == 0)


def test_sanity_record_flags_bad_rows_and_measures_the_others():
    good = cone(5)
    bad = np.zeros((3, 512), np.float32)
    bad[0, 3], bad[1, 3] = np.nan, np.inf
    record = sanity_record(np.concatenate([bad, good]))
    assert (record.n_samples, record.has_nan, record.has_inf, record.has_zero_norm) == (8, True, True, True)
    clean = sanity_record(good)
    assert (clean.has_nan, clean.has_inf, clean.has_zero_norm) == (False, False, False)
    assert record.mean_pairwise_cosine == clean.mean_pairwise_cosine


# --- normalisation


def test_normalised_rows_are_centred_and_of_unit_length():
    raw = cone(200)
    batches = [MeanAccumulator.of(batch) for batch in np.array_split(raw, 3)]
    merged = batches[0].merge(batches[1]).merge(batches[2])
    assert merged.count == 200
    np.testing.assert_allclose(merged.mean, raw.mean(axis=0, dtype=np.float64), atol=1e-14)
    normalised, kept = centre_and_normalise(raw, merged.mean)
    assert kept.all()
    np.testing.assert_allclose(np.linalg.norm(normalised, axis=1), 1, atol=1e-6)
    lengths = np.linalg.norm(raw - merged.mean, axis=1, keepdims=True)
    np.testing.assert_allclose((normalised * lengths).mean(axis=0), 0, atol=1e-6)
    assert (
        sanity_record(raw).mean_pairwise_cosine > 0.8 > 0.1 > sanity_record(normalised).mean_pairwise_cosine
    )


def test_a_row_equal_to_the_mean_is_left_out_and_never_divided():
    raw = cone(3)
    with np.errstate(all="raise"):
        normalised, kept = centre_and_normalise(raw, raw[1].astype(np.float64))
    assert kept.tolist() == [True, False, True]
    assert not normalised[1].any()


@pytest.mark.parametrize("n", [1, 3, 1000])
def test_a_library_of_one_sound_has_no_normalised_row(n):
    raw = np.repeat(cone(1), n, axis=0)
    _, kept = centre_and_normalise(raw, MeanAccumulator.of(raw).mean)
    assert not kept.any()


def test_no_vectors_have_no_mean():
    with pytest.raises(ValueError, match="undefined"):
        _ = MeanAccumulator.of(np.empty((0, 512), np.float32)).mean


# --- demo checkpoint


def test_demo_checkpoint_says_what_it_is(checkpoint, copied):
    assert checkpoint.is_demo
    config = json.loads((copied / "config.json").read_text())
    del config["audio_assets_demo_checkpoint"]
    (copied / "config.json").write_text(json.dumps(config))
    assert not local_checkpoint(copied).is_demo


def test_importing_the_package_is_light():
    code = "import sys, audio_assets.embeddings; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "abacus"])
def test_a_device_that_is_not_there_is_named(checkpoint, device):
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelUnusableError, match=device):
        ClapEncoder(checkpoint, device=device, precision="float32")
