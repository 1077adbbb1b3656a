"""What makes two embeddings comparable, and what a machine computes in by default.

What belongs here: settings that are stored with each row and their version. What does not: anything that
loads a model. Settings are asked for often, so torch is imported only where there is a CUDA driver.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from audio_assets.embeddings.log_mel import LOG_MEL_VERSION
from audio_assets.embeddings.windows import Windowing

BACKENDS = ("torch", "openvino")
#: Part of every embedding's version; grows when the towers give other vectors for the same settings.
TOWER_VERSION = "towers-1"
_PRECISIONS = ("float32", "bfloat16")
_CPU_INFO = Path("/proc/cpuinfo")
_CUDA_DRIVER = Path("/dev/nvidiactl")


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
        What runs the model: ``torch`` or ``openvino``.
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
            self.front_end,
            TOWER_VERSION,
            self.precision,
            self.backend,
        ]
        return "clap-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @property
    def front_end(self) -> str:
        """Version of the log-mel spectrograms that the model is given."""
        return LOG_MEL_VERSION


def resolve_precision(precision: str, device: str = "auto", backend: str = "torch") -> str:
    """Turn ``auto`` into what it stands for on this machine.

    That is bfloat16 where the hardware multiplies it (AVX-512 BF16, AMX, CUDA from Ampere on), else float32.

    Parameters
    ----------
    precision : str
        ``auto``, ``float32`` or ``bfloat16``.
    device : str
        ``auto`` or a torch device.
    backend : str
        ``torch``, or ``openvino``, which runs on the CPU.

    Returns
    -------
    str
        ``float32`` or ``bfloat16``.

    Raises
    ------
    ValueError
        Another precision or backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be {' or '.join(BACKENDS)}, not {backend!r}")
    if precision == "auto":
        return "bfloat16" if _multiplies_bfloat16(device if backend == "torch" else "cpu") else "float32"
    if precision not in _PRECISIONS:
        raise ValueError(f"precision must be auto, {' or '.join(_PRECISIONS)}, not {precision!r}")
    return precision


def _multiplies_bfloat16(device: str) -> bool:
    if device.startswith("cuda") or (device == "auto" and _CUDA_DRIVER.exists()):
        import torch

        if torch.cuda.is_available():
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps" or sys.platform != "linux":
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_CPU_INFO.read_text(encoding="utf-8").split())
