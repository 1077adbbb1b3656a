"""CLAP checkpoints for tests, of any configuration, with random weights that do or do not look trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import ClapConfig, ClapModel

TINY: dict[str, Any] = {
    "architectures": ["ClapModel"],
    "model_type": "clap",
    "projection_dim": 512,
    "audio_config": {
        "patch_size": 16,
        "patch_stride": [16, 16],
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 16,
        "hidden_size": 32,
        "num_hidden_layers": 2,
    },
    "text_config": {
        "vocab_size": 300,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 130,
    },
}
# What the published models' preprocessor_config.json says.
_PREPROCESSOR = {
    "chunk_length_s": 10,
    "feature_extractor_type": "ClapFeatureExtractor",
    "feature_size": 64,
    "fft_window_size": 1024,
    "frequency_max": 14000,
    "frequency_min": 50,
    "hop_length": 480,
    "max_length_s": 10,
    "n_fft": 1024,
    "nb_frequency_bins": 513,
    "nb_max_frames": 1000,
    "nb_max_samples": 480000,
    "padding": "repeatpad",
    "padding_side": "right",
    "padding_value": 0.0,
    "processor_class": "ClapProcessor",
    "return_attention_mask": False,
    "sampling_rate": 48000,
    "top_db": None,
    "truncation": "rand_trunc",
}


def write_checkpoint(folder: Path, config: dict[str, Any], *, trained: bool = True, seed: int = 0) -> Path:
    """Write config, processor, tokenizer and ``model.safetensors``."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSOR))
    _write_tokenizer(folder)
    state = trained_state(config, seed) if trained else _initial_state(config, seed)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def trained_state(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Weights of large, spread values, with biases and BatchNorm statistics of their own."""
    with torch.device("meta"):
        model = ClapModel(ClapConfig(**config))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2**22, generator=generator)  # repeated, as drawing 10^8 numbers takes seconds
    state = {}
    for name, parameter in model.named_parameters():
        n_values = parameter.numel()
        start = int(torch.randint(2**21, (1,), generator=generator))
        values = (
            noise[start:].repeat(-(-n_values // (len(noise) - start)))[:n_values].reshape(parameter.shape)
        )
        state[name] = (values * _scale(name, parameter)).contiguous()
        if parameter.ndim == 1 and name.endswith("weight"):  # all of them are norms
            state[name] += 1
        if name.endswith("projection.linear1.weight"):
            state[name] *= 2
        if name.endswith("projection.linear1.bias"):
            state[name] -= 0.6
    return state | _buffers(model)


def as_pickle(folder: Path) -> Path:
    """Replace the weights by what torch.save makes of them."""
    path = folder / "pytorch_model.bin"
    torch.save(load_file(folder / "model.safetensors"), path)
    (folder / "model.safetensors").unlink()
    return path


def into_hub_cache(folder: Path, cache: Path, model_id: str, revision: str) -> Path:
    """Move a checkpoint to where the hub's own client keeps it; return the snapshot's folder."""
    from audio_assets.embeddings.files import file_sha256

    repository = cache / f"models--{model_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for path in folder.iterdir():
        blob = repository / "blobs" / file_sha256(path)
        shutil.move(path, blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def _buffers(model: ClapModel) -> dict[str, torch.Tensor]:
    """What a model holds beside its parameters, with the BatchNorm statistics of log-mel spectrograms."""
    n_positions = model.config.text_config.max_position_embeddings
    known = {
        "running_mean": -8 - 0.55 * torch.arange(64.0),
        "running_var": torch.full((64,), 220.0),
        "num_batches_tracked": torch.tensor(1),
        "position_ids": torch.arange(n_positions)[None],
        "token_type_ids": torch.zeros((1, n_positions), dtype=torch.long),
        "relative_position_index": next(
            buffer
            for name, buffer in ClapModel(ClapConfig(**TINY)).named_buffers()
            if name.endswith("relative_position_index")
        ),
    }
    persistent = model.state_dict().keys()
    names = [name for name, _ in model.named_buffers() if name in persistent]
    return {name: known[name.rpartition(".")[2]].clone() for name in names}


def _scale(name: str, parameter: torch.Tensor) -> float:
    if "embeddings" in name:
        return 1.0
    if parameter.ndim < 2 or "relative_position" in name:
        return 0.1
    gain = 3.0 if name.startswith("text_model.encoder") else 1.0
    return gain * float(parameter.shape[1:].numel() ** -0.5)


def _initial_state(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: tensor.clone() for name, tensor in ClapModel(ClapConfig(**config)).state_dict().items()}


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import RobertaTokenizer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    trainer = BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["slow", "fast", "sad", "piano", "guitar", "drums"], trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in trained["merges"]]
    RobertaTokenizer(vocab=trained["vocab"], merges=merges).save_pretrained(folder)
