"""The two halves of a CLAP model, each loaded alone.

Embedding tracks needs the audio tower, text queries the text tower; loading only one halves start-up
and memory. Only the named tensors of ``model.safetensors`` are read: no pickle, no network.

What belongs here: everything that knows transformers and torch. What does not: batching and windows
(``encoder``). torch and transformers are imported inside functions, as importing them takes seconds.
"""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings.checkpoints import Checkpoint
from audio_assets.embeddings.errors import ModelUnusableError
from audio_assets.embeddings.windows import SAMPLE_RATE_HZ, WINDOW_SAMPLES

if TYPE_CHECKING:
    import torch


class AudioTower:
    """10-second windows to unit vectors.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.
    device : str
        A torch device.
    precision : str
        ``float32`` or ``bfloat16``: what the model computes in; results are float32 either way.

    Raises
    ------
    ModelUnusableError
        Weights are missing, or the checkpoint wants another kind of input than 48 kHz ``rand_trunc``.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str) -> None:
        import torch
        from transformers import ClapAudioModelWithProjection, ClapFeatureExtractor

        self._extractor = ClapFeatureExtractor.from_pretrained(checkpoint.path, local_files_only=True)
        self._refuse_other_front_ends(checkpoint)
        self._dtype: torch.dtype = getattr(torch, precision)
        model = _load(ClapAudioModelWithProjection, checkpoint, "audio_config", "audio_")
        self._model = model.to(device=device, dtype=self._dtype)
        self._device = device

    def embed(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed one batch of windows, shape (k, 480000), as unit vectors, shape (k, 512)."""
        import torch

        # Anything longer would be cropped at random.
        assert windows.shape[1] == WINDOW_SAMPLES, windows.shape
        inputs = self._extractor(list(windows), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        log_mel = inputs["input_features"].to(device=self._device, dtype=self._dtype)
        with torch.inference_mode():
            return _unit_rows(self._model(input_features=log_mel).audio_embeds)

    def _refuse_other_front_ends(self, checkpoint: Checkpoint) -> None:
        expected = (SAMPLE_RATE_HZ, WINDOW_SAMPLES, "rand_trunc")
        extractor = self._extractor
        found = (extractor.sampling_rate, extractor.nb_max_samples, extractor.truncation)
        if found != expected:
            raise ModelUnusableError(
                f"{checkpoint.path} wants (sample rate in Hz, samples, truncation) {found}, not {expected}: "
                "fused CLAP models mix random crops into every embedding and are not supported."
            )


class TextTower:
    """Texts to unit vectors in the space of the audio tower.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.
    device : str
        A torch device.
    """

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        from transformers import AutoTokenizer, ClapTextModelWithProjection

        self._model = _load(ClapTextModelWithProjection, checkpoint, "text_config", "text_").to(device)
        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, local_files_only=True)
        self._device = device

    def embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Embed at least one text as unit vectors, shape (n, 512); what is over-long is cut off."""
        import torch

        config = self._model.config
        # RoBERTa counts positions from the padding index on.
        max_length = config.max_position_embeddings - config.pad_token_id - 1
        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode():
            return _unit_rows(self._model(**tokens).text_embeds)


def _load(model_class: Any, checkpoint: Checkpoint, config_name: str, prefix: str) -> Any:
    # transformers 5 would otherwise ask the hub for a bot's converted copy of the weights.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    from safetensors import safe_open
    from transformers import ClapConfig
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = getattr(ClapConfig.from_pretrained(checkpoint.path, local_files_only=True), config_name)
    with safe_open(checkpoint.weights_path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
    model, report = model_class.from_pretrained(
        None, config=config, state_dict=state, output_loading_info=True, local_files_only=True
    )
    # Older checkpoints lack constant buffers, which is harmless; a parameter would be random.
    missing = set(report["missing_keys"]) & {name for name, _ in model.named_parameters()}
    if missing or report["mismatched_keys"]:
        wrong = sorted(missing) + sorted(str(key) for key in report["mismatched_keys"])
        raise ModelUnusableError(
            f"{checkpoint.weights_path} does not fit its config.json: {', '.join(wrong[:5])}"
        )
    return model.eval()


def _unit_rows(vectors: "torch.Tensor") -> npt.NDArray[np.float32]:
    import torch

    unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
    return unit
