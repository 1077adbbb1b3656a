"""The audio tower run by OpenVINO, an optional extra: faster than torch on an x86 CPU.

The network is exported once from the same checkpoint that torch runs, and kept beside the models.

What belongs here: everything that knows OpenVINO. What does not: how the weights are read (``towers``).
OpenVINO is imported inside functions: without the extra everything else works.
"""

import re
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings.checkpoints import Checkpoint
from audio_assets.embeddings.errors import ModelUnusableError
from audio_assets.embeddings.log_mel import FRAMES, MEL_BANDS
from audio_assets.embeddings.towers import AudioTower

_PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_NETWORK_NAME = "audio_tower.xml"


class OpenVinoTower:
    """Log-mel spectrograms to unit vectors, with OpenVINO on the CPU.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.
    precision : str
        ``float32`` or ``bfloat16``: what the model computes in; results are float32 either way.
    batch_size : int
        Spectrograms in one call of `embed`: the network is compiled for this number.
    lanes : int
        Calls of `embed` that run at the same time, each on one core.
    cache_dir : Path
        Where exported networks are kept.

    Raises
    ------
    ModelUnusableError
        The extra is not installed, or this CPU has no such arithmetic.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, precision: str, batch_size: int, lanes: int, cache_dir: Path
    ) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        network = core.read_model(exported_network(checkpoint, cache_dir))
        network.reshape([batch_size, 1, FRAMES, MEL_BANDS])
        hint = _PRECISION_HINTS[precision]
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": lanes, "NUM_STREAMS": lanes}
        self._compiled = core.compile_model(network, "CPU", options)
        found = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if found != hint:
            raise ModelUnusableError(f"OpenVINO computes in {found} on this CPU, not in {hint}.")
        self._lane = threading.local()

    def embed(self, log_mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed exactly one batch of spectrograms, shape (k, 1001, 64), as unit vectors, shape (k, 512)."""
        if not hasattr(self._lane, "request"):
            self._lane.request = self._compiled.create_infer_request()
        vectors = self._lane.request.infer([log_mel[:, np.newaxis]])[0]
        norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        unit: npt.NDArray[np.float32] = vectors / norms
        return unit


def import_openvino() -> Any:
    """Import OpenVINO, or say how to get it.

    Raises
    ------
    ModelUnusableError
        It is not installed.
    """
    # Otherwise the mere import reports to its maker; without this module OpenVINO does without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ModelUnusableError(
            "The openvino backend needs the extra of that name: pip install 'audio-assets[openvino]'. "
            "The torch backend needs nothing more."
        ) from error
    return openvino


def exported_network(checkpoint: Checkpoint, cache_dir: Path) -> Path:
    """Find the network of a checkpoint, exporting it once.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.
    cache_dir : Path
        Gets one folder for each checkpoint and version of the libraries; it appears whole or not at all.

    Returns
    -------
    Path
        The network; its weights lie beside it.
    """
    from filelock import FileLock

    folder = cache_dir / _network_key(checkpoint)
    if not folder.is_dir():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir / f".{folder.name}.lock"):
            if not folder.is_dir():  # no other process was faster
                _export(checkpoint, folder)
    return folder / _NETWORK_NAME


def _network_key(checkpoint: Checkpoint) -> str:
    import transformers

    version = re.match(r"[\d.]*\d", import_openvino().__version__)
    assert version
    identity = f"{checkpoint.weights_sha256[:16]}-{checkpoint.config_sha256[:16]}"
    return f"{identity}-openvino-{version[0]}-transformers-{transformers.__version__}"


def _export(checkpoint: Checkpoint, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-openvino-") as scratch:
        draft = Path(scratch) / "network"
        draft.mkdir()
        import_openvino().save_model(_convert(checkpoint), draft / _NETWORK_NAME, compress_to_fp16=False)
        draft.rename(folder)


def _convert(checkpoint: Checkpoint) -> Any:
    import torch

    class Embeds(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_features: torch.Tensor) -> Any:
            return self.model(input_features=input_features).audio_embeds

    module = Embeds(AudioTower(checkpoint, "cpu", "float32").model)
    example = torch.zeros(1, 1, FRAMES, MEL_BANDS)
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing fixes branches that depend on the shape of a window, which never changes.
        warnings.simplefilter("ignore")
        return import_openvino().convert_model(module, example_input=example)
