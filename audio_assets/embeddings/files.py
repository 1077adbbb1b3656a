"""The files a checkpoint consists of, and their hashes.

What belongs here: names, completeness, damage. What does not: where checkpoints come from.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

from audio_assets.embeddings.errors import ModelUnusableError

WEIGHTS_NAME = "model.safetensors"
PICKLE_NAME = "pytorch_model.bin"

#: What says how the weights and the audio front end are to be used.
CONFIG_NAMES = ("config.json", "preprocessor_config.json", "processor_config.json")

# One file of each group is enough: transformers 4 and 5 name the processor's files differently.
_BESIDE_WEIGHTS = (
    ("config.json",),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json", "vocab.json"),
)


def missing_files(folder: Path, weights: str = WEIGHTS_NAME) -> list[str]:
    """Name what a folder lacks to be a checkpoint with weights of that name."""
    groups = ((weights,), *_BESIDE_WEIGHTS)
    return [" or ".join(group) for group in groups if not any((folder / name).is_file() for name in group)]


def file_sha256(path: Path) -> str:
    """Hash of a file as hex; computed once a process while size and modification time stay the same."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=32)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_damaged(weights_path: Path) -> None:
    """Check the header of a safetensors file against its length.

    Raises
    ------
    ModelUnusableError
        Cut short, or no safetensors file at all.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights_path, framework="np"):
            return
    except SafetensorError as error:
        raise ModelUnusableError(
            f"{weights_path} is damaged or cut short ({error}): copy it again."
        ) from error
