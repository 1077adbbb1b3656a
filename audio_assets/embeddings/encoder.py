"""The embedding model as the platform uses it: windows or texts in, unit vectors out.

What belongs here: batching, the choice of device and precision, and the settings that make two
embeddings comparable. What does not: transformers' details (``towers``), windows (``windows``).
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings.checkpoints import Checkpoint
from audio_assets.embeddings.towers import AudioTower, TextTower
from audio_assets.embeddings.windows import EMBEDDING_DIM, WINDOW_SAMPLES, Windowing

_PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class EmbeddingSettings:
    """Everything that decides what a track's embedding is; stored with each row.

    Parameters
    ----------
    model_id, revision : str
        Where the weights come from.
    weights_sha256, config_sha256 : str
        Which weights they are, and which front end and architecture they are used with.
    windowing : Windowing
        Which parts of a track are heard.
    precision : str
        ``float32`` or ``bfloat16``.
    backend : str
        What runs the model.
    """

    model_id: str
    revision: str
    weights_sha256: str
    config_sha256: str
    windowing: Windowing
    precision: str
    backend: str = "torch"

    @property
    def version(self) -> str:
        """Short name of these settings; rows are comparable exactly when it is equal.

        The weights count by their hash, not by name or folder: moving a model recomputes nothing.
        """
        parts = [
            self.weights_sha256,
            self.config_sha256,
            self.windowing.version,
            self.precision,
            self.backend,
        ]
        return "clap-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def resolve_precision(precision: str) -> str:
    """Turn ``auto`` into what it stands for, without loading torch.

    Raises
    ------
    ValueError
        Not one of auto, float32, bfloat16.
    """
    resolved = "float32" if precision == "auto" else precision
    if resolved not in _PRECISIONS:
        raise ValueError(f"precision must be auto, {' or '.join(_PRECISIONS)}, not {precision!r}")
    return resolved


def resolve_device(device: str) -> str:
    """Turn ``auto`` into the fastest device of this machine."""
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class ClapEncoder:
    """A loaded CLAP model.

    The audio tower is loaded at once, the text tower with the first text.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.
    device : str
        ``auto`` (cuda, else mps, else cpu) or a torch device.
    precision : str
        ``auto``, ``float32`` or ``bfloat16`` for the audio tower.
    batch_size : int
        Windows in one forward pass: speed and memory, not the result.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, device: str = "auto", precision: str = "auto", batch_size: int = 8
    ) -> None:
        self.checkpoint = checkpoint
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision)
        self.batch_size = batch_size
        self._audio = AudioTower(checkpoint, self.device, self.precision)

    def embed_windows(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed windows, of one track or of many.

        Parameters
        ----------
        windows : np.ndarray, shape (k, 480000), float32
            Mono audio at 48 kHz.

        Returns
        -------
        np.ndarray, shape (k, 512), float32
            Unit vectors.

        Raises
        ------
        ValueError
            Windows of another length.
        """
        if windows.ndim != 2 or windows.shape[1] != WINDOW_SAMPLES:
            raise ValueError(f"windows must have shape (k, {WINDOW_SAMPLES}), not {windows.shape}")
        starts = range(0, len(windows), self.batch_size)
        return _stack([self._audio.embed(windows[start : start + self.batch_size]) for start in starts])

    def embed_texts(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Embed texts as unit vectors, shape (n, 512)."""
        starts = range(0, len(texts), self.batch_size)
        return _stack([self._text.embed(texts[start : start + self.batch_size]) for start in starts])

    @cached_property
    def _text(self) -> TextTower:
        return TextTower(self.checkpoint, self.device)


def _stack(blocks: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return np.concatenate(blocks) if blocks else np.empty((0, EMBEDDING_DIM), dtype=np.float32)
