"""One file, one vector: whatever the batch, the order, the workers, the process or the backend."""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from audio_assets.audio import DEFAULT_LIMITS, IsolatedPool, decode_mono
from audio_assets.embeddings import (
    SAMPLE_RATE_HZ,
    ClapEncoder,
    EmbeddingSettings,
    ModelUnusableError,
    Windowing,
    cut_windows,
    encoder,
    openvino_tower,
    pool_windows,
    resolve_checkpoint,
    resolve_precision,
    settings,
    to_log_mel,
    towers,
)

BACKENDS = [("torch", "float32"), ("torch", "bfloat16"), ("openvino", "float32")]
if resolve_precision("auto", "cpu") == "bfloat16":
    BACKENDS.append(("openvino", "bfloat16"))  # which refuses to run where the CPU does not multiply it


@pytest.fixture(scope="module")
def checkpoint(clap_checkpoint):
    return resolve_checkpoint(str(clap_checkpoint), "", Path("unused"), offline=True)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def load(checkpoint, cache_dir):
    def load(backend="torch", precision="float32", **others):
        return ClapEncoder(
            checkpoint, device="cpu", backend=backend, precision=precision, cache_dir=cache_dir, **others
        )

    return load


@pytest.fixture(scope="module")
def heard(tracks):
    """Spectrograms of ten demo tracks, of one window or more."""
    paths = [path for path in tracks.values() if path.stat().st_size > 100_000][:10]
    return [
        to_log_mel(cut_windows(decode_mono(path, SAMPLE_RATE_HZ).samples, Windowing(3))) for path in paths
    ]


def vectors(encoder, log_mels):
    return [track.vectors for _, track in encoder.embed_tracks(enumerate(log_mels))]


def centred(rows):
    rows = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# --- determinism


@pytest.mark.parametrize(("backend", "precision"), BACKENDS)
def test_company_order_and_lanes_change_no_bit(load, heard, backend, precision, monkeypatch):
    expected = vectors(load(backend, precision), heard)
    monkeypatch.setattr(encoder, "usable_cores", lambda: 3)
    other = load(backend, precision)
    assert other.lanes == (3 if backend == "torch" else 1)
    for track, alone in zip(expected, heard, strict=True):
        np.testing.assert_array_equal(other.embed_log_mel(alone), track)
    order = np.random.default_rng(0).permutation(len(heard))
    for i, shuffled in zip(order, vectors(other, [heard[i] for i in order]), strict=True):
        np.testing.assert_array_equal(shuffled, expected[i])


def test_there_are_never_more_than_ten_lanes(load, monkeypatch):
    monkeypatch.setattr(encoder, "usable_cores", lambda: 64)
    assert load().lanes == 10


def test_batch_size_on_a_cpu_changes_no_bit(load, heard):
    for one, other in zip(vectors(load(batch_size=1), heard), vectors(load(), heard), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("backend", "precision"), BACKENDS)
def test_another_process_gives_the_same_bits(
    load, heard, checkpoint, cache_dir, tmp_path, backend, precision
):
    np.save(tmp_path / "heard.npy", heard[0])
    code = (
        "import sys, hashlib, numpy; from pathlib import Path; from audio_assets.embeddings import *;"
        f"checkpoint = resolve_checkpoint({str(checkpoint.path)!r}, '', Path(), offline=True);"
        f"encoder = ClapEncoder(checkpoint, device='cpu', backend={backend!r}, precision={precision!r},"
        f" cache_dir=Path({str(cache_dir)!r}));"
        f"vectors = encoder.embed_log_mel(numpy.load({str(tmp_path / 'heard.npy')!r}));"
        "print(hashlib.sha256(vectors.tobytes()).hexdigest())"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    ours = load(backend, precision).embed_log_mel(heard[0])
    assert printed.split()[-1] == hashlib.sha256(ours.tobytes()).hexdigest()


def decode_and_transform(path):
    return to_log_mel(cut_windows(decode_mono(path, SAMPLE_RATE_HZ, DEFAULT_LIMITS).samples, Windowing()))


def test_workers_hear_the_same_bits(tracks):
    paths = [path for path in tracks.values() if path.stat().st_size > 100_000][:4]
    expected = {path: decode_and_transform(path) for path in paths}
    for workers in (1, 3):
        with IsolatedPool(workers=workers, timeout_s=60) as pool:
            for path, result in pool.map_unordered(decode_and_transform, paths):
                np.testing.assert_array_equal(result, expected[path])


# --- precision and backends


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bfloat16_points_the_same_way_and_is_not_float32(load, heard, backend):
    if backend == "openvino" and resolve_precision("auto", "cpu") == "float32":
        pytest.skip("this CPU does not multiply bfloat16")
    exact, rough = (
        np.stack([pool_windows(rows) for rows in vectors(one, heard)])
        for one in (load(), load(backend, "bfloat16"))
    )
    assert (exact * rough).sum(axis=1).min() > 0.9998
    assert 0.9990 < (centred(exact) * centred(rough)).sum(axis=1).min() < 1 - 1e-8


def test_gelu_within_its_product_is_the_exact_one(checkpoint):
    """Not its tanh approximation; and it is applied in every layer."""
    if resolve_precision("auto", "cpu") == "float32":
        pytest.skip("this CPU does not multiply bfloat16")
    model = towers.AudioTower(checkpoint, "cpu", "bfloat16").model
    assert sum("forward" in vars(module) for module in model.modules()) == sum(model.config.depths)
    values = torch.linspace(-4, 4, 257).bfloat16()
    identity = torch.nn.Linear(257, 257, dtype=torch.bfloat16).requires_grad_(False)
    identity.weight.copy_(torch.eye(257))
    identity.bias.zero_()
    found = towers._linear_gelu(identity, values[None])[0].double()
    exact = torch.nn.functional.gelu(values.double())
    torch.testing.assert_close(found, exact, rtol=2**-8, atol=1e-6)


def test_openvino_equals_torch(load, heard):
    for ours, theirs in zip(vectors(load("openvino"), heard), vectors(load(), heard), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)


def test_the_network_is_exported_once(load, checkpoint, cache_dir, monkeypatch):
    load("openvino")
    monkeypatch.setattr(openvino_tower, "_convert", lambda _: pytest.fail("exported again"))
    load("openvino")
    (folder,) = (path for path in (cache_dir / "openvino").iterdir() if path.is_dir())
    assert folder.name.startswith(checkpoint.weights_sha256[:16])
    assert sorted(path.name for path in folder.iterdir()) == [
        "audio_tower.bin",
        "audio_tower.xml",
        "sha256.json",
    ]


def test_a_network_that_was_changed_since_its_export_is_refused(load, cache_dir):
    load("openvino")
    (weights,) = cache_dir.glob("openvino/*/audio_tower.bin")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(ModelUnusableError, match="not as it was exported"):
            load("openvino")
    finally:
        weights.write_bytes(content)


def test_a_failed_export_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr(openvino_tower, "_convert", fail)
    with pytest.raises(MemoryError):
        openvino_tower.exported_network(checkpoint, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_without_the_extra_the_message_says_what_to_install(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelUnusableError, match=r"pip install 'audio-assets\[openvino\]'"):
        load("openvino")


def test_openvino_reports_nothing_to_its_maker():
    code = (
        "import sys; from audio_assets.embeddings.openvino_tower import import_openvino; import_openvino();"
        "import openvino.tools.ovc; sys.exit(sys.modules['openvino_telemetry'] is not None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_backend_and_precision_are_refused(load):
    with pytest.raises(ValueError, match="backend must be torch or openvino"):
        load("onnx")
    with pytest.raises(ValueError, match="float16"):
        load(precision="float16")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse2 avx512_bf16 lm", "bfloat16"),
        ("fpu amx_bf16", "bfloat16"),
        ("fpu avx2 avx512f", "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_cpu_has_it(flags, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    monkeypatch.setattr(settings, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(settings.sys, "platform", "linux")
    assert resolve_precision("auto", "cpu") == expected
    assert resolve_precision("auto", "mps") == "float32"
    assert resolve_precision("float32", "cpu") == "float32"


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_asks_the_gpu_where_there_is_one(native, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags : sse2\n")
    monkeypatch.setattr(settings, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert resolve_precision("auto", "cuda:0") == expected
    assert resolve_precision("auto", "cuda:0", "openvino") == "float32"


# --- batching


def test_tracks_come_back_whole_and_in_order(load, heard):
    empty = heard[0][:0]
    log_mels = [empty, heard[0], empty, *heard[1:4], empty]
    given = list(load().embed_tracks(enumerate(log_mels)))
    assert [key for key, _ in given] == list(range(len(log_mels)))
    assert [len(track.vectors) for _, track in given] == [len(log_mel) for log_mel in log_mels]
    assert all(track.elapsed_s > 0 for _, track in given if len(track.vectors))


def test_a_track_is_given_before_the_last_one_is_drawn(load, heard):
    drawn = []

    def endless():
        while True:
            drawn.append(None)
            yield len(drawn), heard[0]

    one = load()
    next(one.embed_tracks(endless()))
    in_flight = (2 * one.lanes + 2) * one.batch_size
    assert len(drawn) <= 1 + in_flight


def test_a_failing_pass_ends_the_run_and_stops_the_rest(load, heard, monkeypatch):
    one = load()
    monkeypatch.setattr(one._tower, "embed", lambda _: (_ for _ in ()).throw(RuntimeError("no more")))
    with pytest.raises(RuntimeError, match="no more"):
        list(one.embed_tracks((i, heard[0]) for i in range(100)))


def test_a_pass_that_runs_out_of_memory_is_halved(checkpoint, heard):
    tower = towers.AudioTower(checkpoint, "cpu", "float32")
    whole = np.concatenate(heard)[:5]
    expected = tower.embed(whole)
    forward, sizes = tower.model.forward, []

    def small(input_features):
        sizes.append(len(input_features))
        if len(input_features) > 2:
            raise torch.OutOfMemoryError
        return forward(input_features=input_features)

    tower.model.forward = small
    np.testing.assert_allclose(tower.embed(whole), expected, atol=1e-6)
    assert sizes == [5, 2, 3, 1, 2]


def test_batch_size_follows_the_memory_a_gpu_reports(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 8 * 2**30), raising=False)
    assert encoder._gpu_batch_size("cuda") == 32
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 2**20), raising=False)
    assert encoder._gpu_batch_size("cuda") == 1


def test_spectrograms_of_another_shape_are_refused(load):
    with pytest.raises(ValueError, match="1001"):
        load().embed_log_mel(np.zeros((1, 1000, 64), np.float32))


# --- versions


def test_version_names_what_changes_the_vectors_and_nothing_else(monkeypatch):
    now = EmbeddingSettings("laion/x", "abc", "0" * 64, "1" * 64, Windowing(6), "float32")
    assert dataclasses.replace(now, model_id="/elsewhere", revision="local").version == now.version
    changes = [
        {"windowing": Windowing(3)},
        {"precision": "bfloat16"},
        {"backend": "openvino"},
        {"weights_sha256": "1" * 64},
        {"config_sha256": "0" * 64},
    ]
    versions = {now.version, *(dataclasses.replace(now, **change).version for change in changes)}
    monkeypatch.setattr(settings, "LOG_MEL_VERSION", "log-mel-2")
    assert len(versions | {now.version}) == 7
