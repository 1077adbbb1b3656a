"""Tell whether a model was ever trained.

Task: notice weights that are still as they were initialised, before a library is embedded with them.
An untrained CLAP gives valid, repeatable, meaningless vectors, so nothing else fails. Metrics: four
marks that initialisation leaves and training removes. They say "collapsed", never "good".

What belongs here: measurements and thresholds on the model itself, and on the cone its audio vectors
form. What does not: what to do about a bad result (the resource, the checks, the command line).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings.checkpoints import Checkpoint
from audio_assets.embeddings.encoder import ClapEncoder
from audio_assets.embeddings.errors import ModelUnusableError
from audio_assets.embeddings.log_mel import to_log_mel
from audio_assets.embeddings.prompts import UNRELATED_PROMPTS
from audio_assets.embeddings.published import PUBLISHED_MODELS
from audio_assets.embeddings.statistics import CosineStatistics
from audio_assets.embeddings.towers import TextTower
from audio_assets.embeddings.windows import SAMPLE_RATE_HZ, WINDOW_SAMPLES

#: Mean cosine of unrelated prompts above which the text tower tells nothing apart.
TEXT_COLLAPSE_LIMIT = 0.95
#: Mean cosine of six unlike synthetic sounds above which the audio tower tells nothing apart: 67 untrained
#: models of four configurations have 0.94 to 0.99.
SIGNAL_COLLAPSE_LIMIT = 0.9
#: Mean pairwise cosine of raw audio vectors above which they form a narrow cone.
AUDIO_CONE_LIMIT = 0.8

_OTHERS = [
    f"{model.model_id}@{model.revision}"
    for model in PUBLISHED_MODELS.values()
    if model.model_id != "laion/larger_clap_music"
]
#: Which model to take instead; said after the problems of one.
MODEL_ADVICE = (
    f"Take {_OTHERS[0]} or {_OTHERS[1]} (same architecture and cost), or the smaller {_OTHERS[2]}: "
    "`audio-assets model pull NAME`, then `--clap-model NAME`."
)


@dataclass(frozen=True)
class Measure:
    """One figure of a model beside its limit; ``problem`` is None where it is as it should be."""

    name: str
    value: float
    limit: str
    problem: str | None


@dataclass(frozen=True)
class ModelHealth:
    """What was measured on a checkpoint.

    Parameters
    ----------
    largest_text_bias : float
        Of the text projection. Biases start at exactly zero and no training step leaves all of them there.
    batch_norm_shift : float
        How far the input normalisation's means and variances are from 0 and 1, where they start and where
        no log-mel spectrogram has them [dB, dB²; the largest].
    mean_prompt_cosine : float
        Mean cosine between 32 unrelated prompts.
    mean_signal_cosine : float
        Mean cosine between six synthetic sounds that have nothing in common.
    """

    largest_text_bias: float
    batch_norm_shift: float
    mean_prompt_cosine: float
    mean_signal_cosine: float

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Every figure with its limit and, where it is beyond, what that means."""
        text, signals = self.mean_prompt_cosine, self.mean_signal_cosine
        n_prompts = len(UNRELATED_PROMPTS)
        return (
            _measure(
                "largest bias of the text projection",
                self.largest_text_bias,
                "not 0",
                self.largest_text_bias == 0,
                "All biases of the text projection are exactly 0, as before training.",
            ),
            _measure(
                "shift of the audio tower's BatchNorm",
                self.batch_norm_shift,
                "not 0",
                self.batch_norm_shift == 0,
                "The audio tower's BatchNorm still has mean 0 and variance 1, as before training.",
            ),
            _measure(
                f"mean cosine of {n_prompts} unrelated prompts",
                text,
                f"<= {TEXT_COLLAPSE_LIMIT}",
                not text <= TEXT_COLLAPSE_LIMIT,
                f"The text tower has collapsed: {n_prompts} unrelated prompts have mean cosine {text:.4f} "
                f"(limit {TEXT_COLLAPSE_LIMIT}), so text search would be chance.",
            ),
            _measure(
                "mean cosine of 6 unlike synthetic sounds",
                signals,
                f"<= {SIGNAL_COLLAPSE_LIMIT}",
                not signals <= SIGNAL_COLLAPSE_LIMIT,
                f"The audio tower finds a tone, noise and clicks alike: mean cosine {signals:.4f} "
                f"(limit {SIGNAL_COLLAPSE_LIMIT}).",
            ),
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each sign of an untrained model; empty when there is none."""
        return tuple(measure.problem for measure in self.measures if measure.problem)


def check_model_health(checkpoint: Checkpoint) -> ModelHealth:
    """Measure a checkpoint; both towers are loaded for it, one after the other, and released.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.

    Returns
    -------
    ModelHealth
        The measurements, and the problems they amount to.

    Raises
    ------
    ModelUnusableError
        Not the weights of a CLAP model.
    """
    return ModelHealth(
        largest_text_bias=_largest_text_bias(checkpoint),
        batch_norm_shift=_batch_norm_shift(checkpoint),
        mean_prompt_cosine=_mean_cosine(TextTower(checkpoint, "cpu").embed(list(UNRELATED_PROMPTS))),
        mean_signal_cosine=_mean_cosine(_signal_vectors(checkpoint)),
    )


def audio_cone(mean_pairwise_cosine: float | None) -> str | None:
    """Say so when a library's raw vectors form a narrow cone.

    Parameters
    ----------
    mean_pairwise_cosine : float or None
        Over all pairs of raw vectors, from `sanity_record`; None when there is no pair.

    Returns
    -------
    str or None
        The problem in one sentence, or None when there is none.
    """
    if mean_pairwise_cosine is None or mean_pairwise_cosine <= AUDIO_CONE_LIMIT:
        return None
    return (
        f"Raw audio embeddings have mean pairwise cosine {mean_pairwise_cosine:.3f} (limit "
        f"{AUDIO_CONE_LIMIT}): a narrow cone, as an untrained model gives. {MODEL_ADVICE}"
    )


def unlike_signals() -> npt.NDArray[np.float32]:
    """Six sounds without anything in common, shape (6, 480000), mono at 48 kHz, always the same."""
    time_s = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(0).standard_normal((2, WINDOW_SAMPLES))
    signals = (
        np.sin(2 * np.pi * 440 * time_s),
        sum(np.sin(2 * np.pi * tone_hz * time_s) for tone_hz in (220.0, 277.18, 329.63)) / 3,
        0.3 * noise[0],
        noise[1] * np.exp(-200 * (time_s % 0.5)),  # clicks, two a second
        np.sin(2 * np.pi * (50 * time_s + 397.5 * time_s**2)),  # 50 Hz rising to 8 kHz
        np.sin(2 * np.pi * 55 * time_s) * (1 + np.sin(np.pi * time_s)) / 2,  # a low throb
    )
    return (0.5 * np.stack(signals)).astype(np.float32)


def _measure(name: str, value: float, limit: str, beyond: bool, problem: str) -> Measure:
    return Measure(name, value, limit, problem if beyond else None)


def _largest_text_bias(checkpoint: Checkpoint) -> float:
    names = ("text_projection.linear1.bias", "text_projection.linear2.bias")
    return max(float(np.abs(_tensor(checkpoint, name)).max()) for name in names)


def _batch_norm_shift(checkpoint: Checkpoint) -> float:
    prefix = "audio_model.audio_encoder.batch_norm.running_"
    mean, variance = (_tensor(checkpoint, prefix + name) for name in ("mean", "var"))
    return max(float(np.abs(mean).max()), float(np.abs(variance - 1).max()))


def _tensor(checkpoint: Checkpoint, name: str) -> npt.NDArray[np.float32]:
    from safetensors import SafetensorError, safe_open

    with safe_open(checkpoint.weights_path, framework="np") as file:
        try:
            tensor: npt.NDArray[np.float32] = file.get_tensor(name)
        except SafetensorError as error:
            raise ModelUnusableError(f"{checkpoint.weights_path} is no CLAP model: {error}") from error
    return tensor


def _signal_vectors(checkpoint: Checkpoint) -> npt.NDArray[np.float32]:
    return ClapEncoder(checkpoint, device="cpu", precision="float32").embed_log_mel(
        to_log_mel(unlike_signals())
    )


def _mean_cosine(vectors: npt.NDArray[np.float32]) -> float:
    cosines = CosineStatistics(vectors.shape[1])
    cosines.update(vectors)
    assert cosines.mean is not None
    return cosines.mean
