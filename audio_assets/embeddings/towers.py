"""The two halves of a CLAP model, each loaded alone.

Embedding tracks needs the audio tower, text queries the text tower; loading only one halves start-up
and memory. Only the named tensors of ``model.safetensors`` are read: no pickle, no network.

What belongs here: everything that knows transformers and torch. What does not: batching
(``encoder``) and the front end (``log_mel``). torch and transformers are imported inside functions, as
importing them takes seconds.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings.checkpoints import Checkpoint
from audio_assets.embeddings.errors import ModelUnusableError, reading
from audio_assets.embeddings.log_mel import FRAME_SAMPLES, HIGHEST_HZ, HOP_SAMPLES, LOWEST_HZ, MEL_BANDS
from audio_assets.embeddings.windows import EMBEDDING_DIM, SAMPLE_RATE_HZ, WINDOW_SAMPLES

if TYPE_CHECKING:
    import torch

#: What `log_mel` and `cut_windows` do, in the words of ``ClapFeatureExtractor``.
_FRONT_END = {
    "sampling_rate": SAMPLE_RATE_HZ,
    "nb_max_samples": WINDOW_SAMPLES,
    "truncation": "rand_trunc",
    "padding": "repeatpad",
    "fft_window_size": FRAME_SAMPLES,
    "hop_length": HOP_SAMPLES,
    "feature_size": MEL_BANDS,
    "frequency_min": LOWEST_HZ,
    "frequency_max": HIGHEST_HZ,
    "top_db": None,
}


class AudioTower:
    """Log-mel spectrograms to unit vectors, with torch.

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
        Weights are missing.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str) -> None:
        from transformers import ClapAudioModelWithProjection

        model = _load(ClapAudioModelWithProjection, checkpoint, "audio_config", "audio_")
        if precision == "bfloat16":
            _compute_in_bfloat16(model)
            if device == "cpu":
                _fuse_gelu(model)
        if device.startswith("cuda"):
            import torch

            torch.backends.cudnn.allow_tf32 = False  # float32 is to be what it says
        self.model = model.to(device)
        self._device = device

    def embed(self, log_mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed one batch of spectrograms, shape (k, 1001, 64), as unit vectors, shape (k, 512)."""
        import torch

        spectrograms = torch.from_numpy(log_mel[:, np.newaxis]).to(self._device)
        try:
            with torch.inference_mode():
                return _unit_rows(self.model(input_features=spectrograms).audio_embeds)
        except torch.OutOfMemoryError:
            if len(log_mel) == 1:
                raise
        # Out of the handler, whose traceback keeps the tensors that were too many.
        half = len(log_mel) // 2
        return np.concatenate([self.embed(log_mel[:half]), self.embed(log_mel[half:])])


def use_one_thread() -> None:
    """Make torch use one thread for what the calling thread asks of it."""
    import torch

    torch.set_num_threads(1)


def memory_bytes(device: str) -> int:
    """Memory of a GPU, all of it: what is free at the moment would make results depend on the moment."""
    import torch

    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[1])
    return int(torch.mps.recommended_max_memory())


def refuse_other_front_ends(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose front end is not the one of `log_mel`.

    Parameters
    ----------
    checkpoint : Checkpoint
        With its processor's configuration.

    Raises
    ------
    ModelUnusableError
        It wants another kind of input.
    """
    from transformers import ClapFeatureExtractor

    with reading(checkpoint.processor_path):
        extractor = ClapFeatureExtractor.from_pretrained(checkpoint.path, local_files_only=True)
    others = [
        f"{name} = {getattr(extractor, name)!r}, not {value!r}"
        for name, value in _FRONT_END.items()
        if getattr(extractor, name) != value
    ]
    if others:
        raise ModelUnusableError(
            f"{checkpoint.path} wants another audio front end ({', '.join(others)}). Only the one of "
            "larger_clap_music is supported; fused models mix random crops into every embedding."
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
        with reading(checkpoint.tokenizer_path):
            # Unless told not to, it offers on the terminal to run code that lies in the folder.
            self._tokenizer = AutoTokenizer.from_pretrained(
                checkpoint.path, local_files_only=True, trust_remote_code=False
            )
            self._tokenizer(["a text"])
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
    from safetensors import safe_open
    from transformers import ClapConfig
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with reading(checkpoint.config_path):
        whole = ClapConfig.from_pretrained(checkpoint.path, local_files_only=True)
        config = getattr(whole, config_name)
    if config.projection_dim != EMBEDDING_DIM:
        raise ModelUnusableError(
            f"{checkpoint.config_path} says projection_dim = {config.projection_dim}; only models of "
            f"{EMBEDDING_DIM} dimensions are supported."
        )
    with reading(checkpoint.weights_path), safe_open(checkpoint.weights_path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=state,
            ignore_mismatched_sizes=True,  # they are in the report, which names them
            output_loading_info=True,
            local_files_only=True,
        )
    # Older checkpoints lack constant buffers, which is harmless; a parameter would be random.
    missing = set(report["missing_keys"]) & {name for name, _ in model.named_parameters()}
    if missing or report["mismatched_keys"]:
        wrong = sorted(missing) + sorted(str(key) for key in report["mismatched_keys"])
        raise ModelUnusableError(
            f"{checkpoint.weights_path} does not fit its config.json: {', '.join(wrong[:5])}"
        )
    return model.eval()


def _compute_in_bfloat16(model: Any) -> None:
    """Round weights and activations of the transformer, which is nearly all the work.

    The ends stay float32, for next to nothing: an input of -80 dB would be rounded to half a decibel.
    """
    import torch

    encoder = model.audio_model.audio_encoder
    encoder.layers.bfloat16()
    encoder.patch_embed.register_forward_hook(lambda _module, _args, output: output.to(torch.bfloat16))
    encoder.norm.register_forward_pre_hook(lambda _module, args: (args[0].float(),))


def _fuse_gelu(model: Any) -> None:
    """Apply GELU while a product's results are still in cache: 6 % of a window's time, and one rounding less.

    oneDNN's product is what torch calls for bfloat16 on such a CPU anyway; with GELU it has a private name.
    """
    import torch

    if not (hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return
    for module in model.modules():
        if type(module).__name__ == "ClapAudioIntermediate" and model.config.hidden_act == "gelu":
            module.forward = partial(_linear_gelu, module.dense)


def _linear_gelu(dense: "torch.nn.Linear", hidden_states: "torch.Tensor") -> "torch.Tensor":
    import torch

    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
        hidden_states, dense.weight, dense.bias, "gelu", [], "none"
    )
    return result


def _unit_rows(vectors: "torch.Tensor") -> npt.NDArray[np.float32]:
    import torch

    unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
    return unit
