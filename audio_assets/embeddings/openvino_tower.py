"""The audio tower run by OpenVINO, an optional extra: faster than torch on an x86 CPU.

The network is exported once from the same checkpoint that torch runs, and kept beside the models.

What belongs here: everything that knows OpenVINO. What does not: how the weights are read (``towers``).
OpenVINO is imported inside functions: without the extra everything else works.
"""

import json
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings.checkpoints import Checkpoint
from audio_assets.embeddings.errors import ModelUnusableError, reading
from audio_assets.embeddings.files import file_sha256
from audio_assets.embeddings.log_mel import FRAMES, MEL_BANDS
from audio_assets.embeddings.towers import AudioTower

_PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_NETWORK_NAME = "audio_tower.xml"
_EXPORTED = (_NETWORK_NAME, "audio_tower.bin")
_HASHES_NAME = "sha256.json"


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
    threads : int
        Cores that one call of `embed` uses; calls must not overlap.
    cache_dir : Path
        Where exported networks are kept.

    Raises
    ------
    ModelUnusableError
        The extra is not installed, or this CPU has no such arithmetic.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, precision: str, batch_size: int, threads: int, cache_dir: Path
    ) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        network = core.read_model(exported_network(checkpoint, cache_dir))
        network.reshape([batch_size, 1, FRAMES, MEL_BANDS])
        hint = _PRECISION_HINTS[precision]
        # One stream: requests from several Python threads hung, or gave zeros, on a busy machine (2026.4).
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        compiled = core.compile_model(network, "CPU", options)
        found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if found != hint:
            raise ModelUnusableError(f"OpenVINO computes in {found} on this CPU, not in {hint}.")
        self._request = compiled.create_infer_request()

    def embed(self, log_mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed exactly one batch of spectrograms, shape (k, 1001, 64), as unit vectors, shape (k, 512)."""
        vectors = self._request.infer([log_mel[:, np.newaxis]])[0]
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

    Raises
    ------
    ModelUnusableError
        It is no longer what was exported.
    """
    from filelock import FileLock

    folder = cache_dir / _network_key(checkpoint)
    if not folder.is_dir():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir / f".{folder.name}.lock"):
            if not folder.is_dir():  # no other process was faster
                _export(checkpoint, folder)
    _refuse_changed(folder)
    return folder / _NETWORK_NAME


def _refuse_changed(folder: Path) -> None:
    """Compare the network with the hashes that were written when it was exported."""
    with reading(folder / _HASHES_NAME):
        hashes: dict[str, str] = json.loads((folder / _HASHES_NAME).read_text(encoding="utf-8"))
        found = {name: file_sha256(folder / name) for name in _EXPORTED}
    if found != hashes:
        raise ModelUnusableError(
            f"{folder} is not as it was exported: it was damaged or changed. Delete it, and it is made again."
        )


def _network_key(checkpoint: Checkpoint) -> str:
    import torch
    import transformers

    version = re.match(r"[\d.]*\d", import_openvino().__version__)
    assert version
    identity = f"{checkpoint.weights_sha256[:16]}-{checkpoint.config_sha256[:16]}"
    return (
        f"{identity}-openvino-{version[0]}-torch-{torch.__version__}-transformers-{transformers.__version__}"
    )


def _export(checkpoint: Checkpoint, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-openvino-") as scratch:
        draft = Path(scratch) / "network"
        draft.mkdir()
        import_openvino().save_model(_convert(checkpoint), draft / _NETWORK_NAME, compress_to_fp16=False)
        hashes = {name: file_sha256(draft / name) for name in _EXPORTED}
        (draft / _HASHES_NAME).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
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
