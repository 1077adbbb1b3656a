"""A small CLAP checkpoint with random weights, for trying the platform and testing it without a download.

It has CLAP's architecture, files and tokenizer format, so every path that the real model takes is
exercised, at a thousandth of the cost. Its vectors tell recordings apart, but by nothing that a person
would call similarity, and its texts and sounds have nothing to do with each other. ``config.json`` says
so under `DEMO_MARKER`, and whoever loads it can see it in ``carries_meaning``.

What belongs here: making that folder. What does not: anything a real checkpoint needs too.
"""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_assets.embeddings import DEMO_MARKER, EMBEDDING_DIM

if TYPE_CHECKING:
    import torch

_VOCABULARY_SIZE = 300
_SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
_MUSIC_WORDS = """
    slow fast calm happy sad angry tense dark bright warm cold soft loud gentle aggressive romantic dreamy
    piano guitar bass drums violin cello flute trumpet saxophone organ synthesizer strings brass voice choir
    rock pop jazz blues folk metal classical electronic ambient techno house soul funk reggae country
    melody rhythm harmony chord beat tempo major minor acoustic distorted orchestra song music ballad dance
"""

_AUDIO_CONFIG = {
    "patch_size": 16,
    "patch_stride": [16, 16],
    "depths": [1, 1],
    "num_attention_heads": [2, 2],
    "patch_embeds_hidden_size": 16,
    "hidden_size": 32,
    "num_hidden_layers": 2,
}
_TEXT_CONFIG = {
    "vocab_size": _VOCABULARY_SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 130,
}


def build_demo_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the demo checkpoint, unless the folder is already there.

    Parameters
    ----------
    folder : Path
        Where; appears whole or not at all.
    seed : int
        Equal seeds give equal weights, byte for byte on one machine.

    Returns
    -------
    Path
        The folder.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-clap-") as scratch:
        draft = Path(scratch) / "checkpoint"
        _write(draft, seed)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # there when another process was faster
                raise
    return folder


def _write(folder: Path, seed: int) -> None:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = ClapConfig(audio_config=_AUDIO_CONFIG, text_config=_TEXT_CONFIG, projection_dim=EMBEDDING_DIM)
    setattr(config, DEMO_MARKER, True)
    model = ClapModel(config)
    _set_weights(model, seed)
    model.save_pretrained(folder)
    extractor = ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation="rand_trunc")
    processor = ClapProcessor(extractor, _train_tokenizer())  # type: ignore[no-untyped-call]
    processor.save_pretrained(folder)


def _train_tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import RobertaTokenizer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY_SIZE,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_MUSIC_WORDS.split(), trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    merges: list[Any] = [tuple(merge) for merge in trained["merges"]]
    return RobertaTokenizer(vocab=trained["vocab"], merges=merges)


def _set_weights(model: Any, seed: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 or name.endswith(("linear1.bias", "linear2.bias", "dense.bias")):
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise * _scale(name, parameter))
        for projection in (model.audio_projection, model.text_projection):
            # Fewer active units behind the ReLU: without this all vectors share one direction.
            projection.linear1.weight *= 2
            projection.linear1.bias -= 0.6
        # What log-mel spectrograms of music look like in dB, falling with the mel band.
        batch_norm = model.audio_model.audio_encoder.batch_norm
        batch_norm.running_mean.copy_(-8 - 0.55 * torch.arange(64))
        batch_norm.running_var.fill_(220)


def _scale(name: str, parameter: "torch.Tensor") -> float:
    # transformers starts embeddings at 0.02, where all texts look alike, as in an untrained model.
    if "embeddings" in name:
        return 1.0
    if parameter.ndim == 1 or "relative_position" in name:
        return 0.1
    # A sentence is read off its first token, which has to hear enough of the others.
    gain = 3.0 if name.startswith("text_model.encoder") else 1.0
    return gain * float(parameter.shape[1:].numel() ** -0.5)
