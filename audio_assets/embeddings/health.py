"""Tell whether a model was ever trained.

Task: notice weights that are still as they were initialised, before a library is embedded with them.
An untrained CLAP gives valid, repeatable, meaningless vectors, so nothing else fails. Metrics: three
marks that initialisation leaves and training removes. They say "collapsed", never "good".

What belongs here: measurements and thresholds on the model itself, and on the cone its audio vectors
form. What does not: what to do about a bad result (the resource, the checks, the command line).
"""

from dataclasses import dataclass

import numpy as np

from audio_assets.embeddings.checkpoints import Checkpoint
from audio_assets.embeddings.statistics import CosineStatistics
from audio_assets.embeddings.towers import TextTower

#: Mean cosine of unrelated prompts above which the text tower tells nothing apart.
TEXT_COLLAPSE_LIMIT = 0.95
#: Mean pairwise cosine of raw audio vectors above which they form a narrow cone.
AUDIO_CONE_LIMIT = 0.8

_SIBLINGS = (
    "Drop-in models of the same architecture: "
    "laion/larger_clap_general@ada0c23a36c4e8582805bb38fec3905903f18b41, "
    "laion/larger_clap_music_and_speech@195c3a3e68faebb3e2088b9a79e79b43ddbda76b; smaller: "
    "laion/clap-htsat-unfused."
)

_UNRELATED_PROMPTS = (
    "a slow piano ballad", "aggressive death metal", "birds singing at dawn", "a crowd cheering in a stadium",
    "minimal techno with a deep kick", "a string quartet", "someone typing on a keyboard", "Brazilian samba",
    "a dog barking", "gregorian chant", "heavy rain on a roof", "funk bass line", "a baby crying",
    "acoustic folk guitar", "an ambulance siren", "dub reggae", "solo flute", "hip hop beat with scratching",
    "waves on a beach", "an orchestra tuning up", "a man giving a speech", "bluegrass banjo", "church bells",
    "dark ambient drone", "a steam train", "mariachi trumpets", "glass breaking", "a jazz trio with brushes",
    "eight-bit video game music", "bagpipes", "laughter", "opera soprano",
)  # fmt: skip


@dataclass(frozen=True)
class ModelHealth:
    """What was measured on a checkpoint.

    Parameters
    ----------
    text_projection_bias_all_zero : bool
        Biases start at exactly zero and no training step leaves all of them there.
    batch_norm_untouched : bool
        The input normalisation has mean 0 and variance 1, which no log-mel spectrogram has.
    mean_prompt_cosine : float
        Mean cosine between 32 unrelated prompts.
    problems : tuple of str
        One sentence for each sign of an untrained model; empty when there is none.
    """

    text_projection_bias_all_zero: bool
    batch_norm_untouched: bool
    mean_prompt_cosine: float
    problems: tuple[str, ...]


def check_model_health(checkpoint: Checkpoint) -> ModelHealth:
    """Measure a checkpoint; the text tower is loaded for it and released.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.

    Returns
    -------
    ModelHealth
        The measurements, and the problems they amount to.
    """
    bias_all_zero = _text_projection_bias_all_zero(checkpoint)
    untouched = _batch_norm_untouched(checkpoint)
    cosine = _mean_prompt_cosine(checkpoint)
    problems = []
    if bias_all_zero:
        problems.append(f"All biases of the text projection are exactly 0, as before training. {_SIBLINGS}")
    if untouched:
        problems.append(
            f"The audio tower's BatchNorm still has mean 0 and variance 1, as before training. {_SIBLINGS}"
        )
    if cosine > TEXT_COLLAPSE_LIMIT:
        problems.append(
            f"{len(_UNRELATED_PROMPTS)} unrelated prompts have mean cosine {cosine:.4f} (limit "
            f"{TEXT_COLLAPSE_LIMIT}): text search would be chance. {_SIBLINGS}"
        )
    return ModelHealth(bias_all_zero, untouched, cosine, tuple(problems))


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
        f"{AUDIO_CONE_LIMIT}): a narrow cone, as an untrained model gives. {_SIBLINGS}"
    )


def _text_projection_bias_all_zero(checkpoint: Checkpoint) -> bool:
    names = ("text_projection.linear1.bias", "text_projection.linear2.bias")
    return not any(_tensor(checkpoint, name).any() for name in names)


def _batch_norm_untouched(checkpoint: Checkpoint) -> bool:
    prefix = "audio_model.audio_encoder.batch_norm.running_"
    mean, variance = (_tensor(checkpoint, prefix + name) for name in ("mean", "var"))
    return bool((mean == 0).all() and (variance == 1).all())


def _tensor(checkpoint: Checkpoint, name: str) -> np.ndarray:
    from safetensors import safe_open

    with safe_open(checkpoint.weights_path, framework="np") as file:
        tensor: np.ndarray = file.get_tensor(name)
    return tensor


def _mean_prompt_cosine(checkpoint: Checkpoint) -> float:
    cosines = CosineStatistics()
    cosines.update(TextTower(checkpoint, "cpu").embed(list(_UNRELATED_PROMPTS)))
    assert cosines.mean is not None
    return cosines.mean
