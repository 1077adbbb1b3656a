"""The health gate: an untrained model must be caught, a trained one must pass, each mark by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from clap_folders import TINY, write_checkpoint
from safetensors.torch import load_file, save_file

from audio_assets.embeddings import (
    Checkpoint,
    ModelUnusableError,
    audio_cone,
    check_model_health,
    resolve_checkpoint,
)
from audio_assets.embeddings.health import unlike_signals


def local(folder: Path) -> Checkpoint:
    return resolve_checkpoint(str(folder), "", Path("unused"), offline=True)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "trained", TINY)


def test_a_model_that_looks_trained_passes(trained: Path) -> None:
    health = check_model_health(local(trained))
    assert health.problems == ()
    assert all(measure.problem is None for measure in health.measures)


@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_model_is_caught_by_every_mark(tmp_path: Path, seed: int) -> None:
    folder = write_checkpoint(tmp_path / "untrained", TINY, trained=False, seed=seed)
    health = check_model_health(local(folder))
    assert health.largest_text_bias == 0
    assert health.batch_norm_shift == 0
    assert health.mean_prompt_cosine > 0.95
    assert health.mean_signal_cosine > 0.9
    assert len(health.problems) == 4


def _zero_text_bias(state: dict[str, torch.Tensor]) -> None:
    for layer in ("linear1", "linear2"):
        state[f"text_projection.{layer}.bias"].zero_()


def _reset_batch_norm(state: dict[str, torch.Tensor]) -> None:
    state["audio_model.audio_encoder.batch_norm.running_mean"].zero_()
    state["audio_model.audio_encoder.batch_norm.running_var"].fill_(1)


def _collapse(tower: str, state: dict[str, torch.Tensor]) -> None:
    """Let the constant part of the projection outweigh all it is given."""
    state[f"{tower}_projection.linear2.bias"].mul_(1000)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_zero_text_bias, "biases of the text projection"),
        (_reset_batch_norm, "BatchNorm still has"),
        (lambda state: _collapse("text", state), "text tower has collapsed"),
        (lambda state: _collapse("audio", state), "a tone, noise and clicks alike"),
    ],
)
def test_each_mark_is_caught_by_itself(trained: Path, damage, says: str) -> None:
    state = load_file(trained / "model.safetensors")
    damage(state)
    save_file(state, trained / "model.safetensors", metadata={"format": "pt"})
    assert any(says in problem for problem in check_model_health(local(trained)).problems)


def test_weights_of_something_else_are_no_clap_model(trained: Path) -> None:
    save_file({"a": torch.ones(2)}, trained / "model.safetensors")
    with pytest.raises(ModelUnusableError, match="no CLAP model"):
        check_model_health(local(trained))


def test_the_signals_are_always_the_same_and_unlike() -> None:
    signals = unlike_signals()
    np.testing.assert_array_equal(signals, unlike_signals())
    assert signals.shape == (6, 480_000)
    assert np.abs(signals).max() < 3
    correlations = np.corrcoef(signals)[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 0.1


@pytest.mark.parametrize(("mean", "is_cone"), [(None, False), (0.5, False), (0.8, False), (0.943, True)])
def test_audio_cone(mean: float | None, is_cone: bool) -> None:
    problem = audio_cone(mean)
    assert (problem is not None) == is_cone
    assert problem is None or "laion/larger_clap_general@ada0c23a" in problem
