"""Contrastive training of the miniature: batches, loss, steps, and a state to go on from.

Every step's randomness is a function of the seed and the step's number, so a run that was stopped goes
on as if it had not been.

The loss is CLAP's, with one difference: a caption is not right for its own track alone. One that leaves
things out fits several tracks of a batch, and "a flute" must not be punished for finding the other flute.
Nor are all wrong tracks equally wrong: another instrument is worse than another tempo, which makes the
instrument what neighbours have in common.

What belongs here: everything between spectrograms with captions and weights. What does not: making
those (`spectra`, `captions`), the model's shape (`model`), and scores (`scores`).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import ClapModel, PreTrainedTokenizerBase

from tools.demo_clap.captions import ATTRIBUTES, Caption, full_caption, partial_caption
from tools.demo_clap.music import Description
from tools.demo_clap.spectra import MODEL_FRAMES, Take

_SILENCE_DB = -100.0
_FULL_CAPTIONS = 0.3
#: What a caption that is wrong about a track loses, as a logit.
_WRONG_FAMILY, _WRONG_OTHER = 5.0, 2.0
_LOGIT_SCALE_LIMIT = math.log(100.0)


@dataclass(frozen=True)
class Recipe:
    """What a run does, apart from its data.

    Parameters
    ----------
    steps, batch_size : int
        Optimiser steps, and tracks in each.
    peak_rate, weight_decay : float
        Of AdamW. The rate rises for `warmup_steps`, stays, and falls to 0 in the last `cooldown_steps`; so
        a run may be made longer until it cools down.
    seed : int
        Of everything.
    """

    steps: int
    batch_size: int = 128
    peak_rate: float = 1.5e-3
    warmup_steps: int = 200
    cooldown_steps: int = 400
    weight_decay: float = 0.05
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        rise, fall = (step + 1) / self.warmup_steps, (self.steps - step) / self.cooldown_steps
        return self.peak_rate * min(1.0, rise, fall)


class Training:
    """A model on its way.

    Parameters
    ----------
    model : ClapModel
        Changed in place.
    tokenizer : PreTrainedTokenizerBase
        Of the captions.
    takes : sequence of Take
        Stretched spectrograms; track i of each is one of ``descriptions[i]``.
    descriptions : sequence of Description
        What the tracks are.
    recipe : Recipe
        How to train.
    """

    def __init__(
        self,
        model: ClapModel,
        tokenizer: PreTrainedTokenizerBase,
        takes: Sequence[Take],
        descriptions: Sequence[Description],
        recipe: Recipe,
    ) -> None:
        self.model = model
        self.step = 0
        self._tokenizer = tokenizer
        self._takes = takes
        self._descriptions = descriptions
        self._recipe = recipe
        # The patch embedding follows at once and does all that this scale and shift could do.
        for parameter in model.audio_model.audio_encoder.batch_norm.parameters():
            parameter.requires_grad_(False)
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names = list(named)
        decayed = [p for p in named.values() if p.ndim > 1]
        others = [p for p in named.values() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self._named = named
        self._optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98))

    def advance(self) -> float:
        """Do one step and return its loss."""
        recipe = self._recipe
        rng = np.random.default_rng([recipe.seed, self.step])
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = recipe.rate(self.step)
        loss = self._loss(*self._batch(rng))
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._named.values(), 1.0)
        self._optimiser.step()
        with torch.no_grad():
            for scale in (self.model.logit_scale_a, self.model.logit_scale_t):
                scale.clamp_(max=_LOGIT_SCALE_LIMIT)
        self.step += 1
        return float(loss.detach())

    def save(self, folder: Path) -> None:
        """Write all that `resume` needs, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self._named.items():
            for key, tensor in self._optimiser.state[parameter].items():
                tensors[f"optimiser/{name}/{key}"] = tensor
        partial = folder / "state.partial"
        metadata = {"step": str(self.step), "recipe": json.dumps(vars(self._recipe))}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
        partial.replace(folder / "state.safetensors")

    def resume(self, folder: Path) -> None:
        """Go on where `save` was called last, if it was."""
        path = folder / "state.safetensors"
        if not path.exists():
            return
        tensors = load_file(path)
        state = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model/")}
        self.model.load_state_dict(state)
        for name, parameter in self._named.items():
            prefix = f"optimiser/{name}/"
            own = {k[len(prefix) :]: tensor for k, tensor in tensors.items() if k.startswith(prefix)}
            self._optimiser.state[parameter] = own
        self.step = _saved_step(path)

    def _batch(self, rng: np.random.Generator) -> tuple[torch.Tensor, list[Caption], npt.NDArray[np.int64]]:
        n = self._recipe.batch_size
        # Without replacement: no two tracks of a batch fit a full caption equally well.
        chosen = rng.permutation(len(self._descriptions))[:n]
        windows = [self._window(int(i), rng) for i in chosen]
        descriptions = [self._descriptions[i] for i in chosen]
        captions = [
            full_caption(d, rng) if rng.random() < _FULL_CAPTIONS else partial_caption(d, rng)
            for d in descriptions
        ]
        return torch.from_numpy(np.stack(windows))[:, None], captions, attribute_codes(descriptions)

    def _window(self, i: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        frames = self._takes[int(rng.integers(len(self._takes)))].track(i)
        start = int(rng.integers(len(frames) - MODEL_FRAMES + 1))
        return _augmented(frames[start : start + MODEL_FRAMES].astype(np.float32), rng)

    def _loss(
        self, windows: torch.Tensor, captions: list[Caption], codes: npt.NDArray[np.int64]
    ) -> torch.Tensor:
        tokens = self._tokenizer([c.text for c in captions], padding=True, return_tensors="pt")
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16):
            out = self.model(input_features=windows, **tokens)
        fit = torch.from_numpy(_fit(captions, codes))
        by_text = _soft_cross_entropy(out.logits_per_text.float(), fit)
        by_audio = _soft_cross_entropy(out.logits_per_audio.float(), fit.T)
        return (by_text + by_audio) / 2


def attribute_codes(descriptions: Sequence[Description]) -> npt.NDArray[np.int64]:
    """Give the values of each attribute numbers, shape (n, 6)."""
    columns = [[getattr(d, name) for d in descriptions] for name in ATTRIBUTES]
    return np.stack([np.unique(column, return_inverse=True)[1] for column in columns], axis=1)


def _fit(captions: Sequence[Caption], codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Give how well caption i, written for track i, fits track j: shape (n, n), 1 where all is true."""
    mentioned = np.array([caption.mentioned for caption in captions])
    wrong = (codes[:, None] != codes[None]) & mentioned[:, None]
    weights = [_WRONG_FAMILY if name == "family" else _WRONG_OTHER for name in ATTRIBUTES]
    fit: npt.NDArray[np.float32] = np.exp(-(wrong @ np.array(weights))).astype(np.float32)
    return fit


def _soft_cross_entropy(logits: torch.Tensor, fit: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each row against its columns in proportion to how well they fit."""
    return functional.cross_entropy(logits, fit / fit.sum(dim=1, keepdim=True))


def _augmented(window: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Do what recording, encoding and chance do to music: level, tone, noise floor, gaps."""
    n_frames, n_mels = window.shape
    window = window + rng.uniform(-3, 3) + rng.uniform(-2, 2) * np.linspace(-1, 1, n_mels, dtype=np.float32)
    if rng.random() < 0.3:  # a low-pass, as of 22 kHz files and encoders
        window[:, rng.integers(52, n_mels) :] = _SILENCE_DB
    if rng.random() < 0.3:
        start = rng.integers(n_frames - 80)
        window[start : start + rng.integers(80)] = _SILENCE_DB
    if rng.random() < 0.3:
        start = rng.integers(n_mels - 6)
        window[:, start : start + rng.integers(6)] = _SILENCE_DB
    floor = rng.uniform(_SILENCE_DB, -45) if rng.random() < 0.5 else _SILENCE_DB
    return np.maximum(window, floor, dtype=np.float32)


def _saved_step(path: Path) -> int:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])
