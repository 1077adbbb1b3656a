"""The CLAP model as a Dagster resource.

What belongs here: the settings a deployment may change, one load a process, and saying loudly when the
loaded weights mean nothing. What does not: finding, running and judging models (``audio_assets.embeddings``).
"""

import threading
import time
from pathlib import Path

import dagster as dg
from pydantic import Field

from audio_assets.embeddings import (
    DEFAULT_MODEL_ID,
    MODEL_ADVICE,
    Checkpoint,
    ClapEncoder,
    EmbeddingSettings,
    ModelError,
    ModelHealth,
    TextTower,
    Windowing,
    check_model_health,
    resolve_checkpoint,
    resolve_precision,
)

_EncoderKey = tuple[Checkpoint, str, str, str, int, str]
_LOCK = threading.RLock()
_ENCODERS: dict[_EncoderKey, ClapEncoder] = {}
_HEALTH: dict[Checkpoint, ModelHealth] = {}


class ModelUnhealthyError(ModelError):
    """The weights look untrained: no text is embedded. Under `strict` nothing is, nor by the demo model."""


class ClapModel(dg.ConfigurableResource):  # type: ignore[type-arg]
    """One CLAP model, loaded at most once a process."""

    model_id: str = Field(
        default=DEFAULT_MODEL_ID,
        description="Name on the model hub, or a local folder (config.json, model.safetensors, processor).",
    )
    revision: str = Field(
        default="",
        description="Commit of the hub's repository; empty for the one a known model is pinned to.",
    )
    device: str = Field(default="auto", description="auto (cuda, else mps, else cpu) or a torch device.")
    precision: str = Field(
        default="auto",
        description=(
            "auto, float32 or bfloat16. Part of every embedding's version; auto is bfloat16 where the "
            "hardware has it: name one where machines of several kinds work on one library."
        ),
    )
    backend: str = Field(
        default="torch",
        description="torch, or openvino (an extra; CPU only). Part of every embedding's version.",
    )
    batch_size: int = Field(
        default=0, ge=0, description="Windows in one pass on a GPU; 0 for what fits. Fixed on a CPU."
    )
    max_windows: int = Field(
        default=6,
        ge=1,
        description="10-second windows a track, spread over it. Part of every embedding's version.",
    )
    cache_dir: str = Field(
        default="~/.cache/audio-assets/models",
        description="Where downloaded models are kept; shared by libraries.",
    )
    offline: bool = Field(
        default=False, description="Never touch the network: a missing model is an error at once."
    )
    strict: bool = Field(
        default=False,
        description="Refuse a model that looks untrained, and the demo model, instead of warning.",
    )

    def checkpoint(self) -> Checkpoint:
        """Weights on this machine, downloaded if needed and allowed."""
        return resolve_checkpoint(
            self.model_id, self.revision, Path(self.cache_dir).expanduser(), offline=self.offline
        )

    def settings(self) -> EmbeddingSettings:
        """Name what decides an embedding; hashes the weights but loads no torch."""
        checkpoint = self.checkpoint()
        return EmbeddingSettings(
            model_id=checkpoint.model_id,
            revision=checkpoint.revision,
            weights_sha256=checkpoint.weights_sha256,
            config_sha256=checkpoint.config_sha256,
            windowing=Windowing(self.max_windows),
            precision=resolve_precision(self.precision, self.device, self.backend),
            backend=self.backend,
        )

    def health(self) -> ModelHealth:
        """Whether the weights look trained; measured once a process."""
        checkpoint = self.checkpoint()
        with _LOCK:
            if checkpoint not in _HEALTH:
                _HEALTH[checkpoint] = check_model_health(checkpoint)
            return _HEALTH[checkpoint]

    def encoder(self) -> ClapEncoder:
        """Give the loaded model: equal settings give the same object in one process.

        Raises
        ------
        ModelError
            Missing or unusable weights; under `strict` also unhealthy ones (`ModelUnhealthyError`).
        """
        precision = resolve_precision(self.precision, self.device, self.backend)
        key = self.checkpoint(), self.device, precision, self.backend, self.batch_size, self.cache_dir
        with _LOCK:
            if self.strict:
                self._require_health()
            if key not in _ENCODERS:
                _ENCODERS[key] = self._load(*key)
            return _ENCODERS[key]

    def concerns(self) -> tuple[str, ...]:
        """Every reason not to trust this model's vectors, as sentences; empty when there is none."""
        demo = f"{self.model_id} is the demo model: it was trained on synthesised music and knows no other."
        return ((demo,) if self.checkpoint().is_demo else ()) + self._signs_of_no_training()

    def text_tower(self) -> TextTower:
        """Load the half that embeds texts.

        Raises
        ------
        ModelUnhealthyError
            The model looks untrained: its texts would all find the same tracks, or any.
        """
        if signs := self._signs_of_no_training():
            raise ModelUnhealthyError(
                f"No text is compared with tracks by {self.model_id}. {' '.join(signs)}"
            )
        return TextTower(self.checkpoint(), "cpu")

    def _signs_of_no_training(self) -> tuple[str, ...]:
        """Give the problems of the model, the last one followed by which model to take instead."""
        problems = list(self.health().problems)
        if problems:
            problems[-1] += f" {MODEL_ADVICE}"
        return tuple(problems)

    def _require_health(self) -> None:
        if concerns := self.concerns():
            raise ModelUnhealthyError("Refused under strict. " + " ".join(concerns))

    def _load(
        self,
        checkpoint: Checkpoint,
        device: str,
        precision: str,
        backend: str,
        batch_size: int,
        cache_dir: str,
    ) -> ClapEncoder:
        log = dg.get_dagster_logger("clap")
        started = time.perf_counter()
        encoder = ClapEncoder(
            checkpoint,
            device=device,
            precision=precision,
            backend=backend,
            batch_size=batch_size,
            cache_dir=Path(cache_dir),
        )
        elapsed_s = time.perf_counter() - started
        log.info(
            f"Loaded {checkpoint.model_id} on {encoder.device} ({encoder.backend}, {encoder.precision}) "
            f"in {elapsed_s:.1f} s"
        )
        for concern in self.concerns():
            log.warning(f"DO NOT TRUST THESE EMBEDDINGS: {concern}")
        return encoder
