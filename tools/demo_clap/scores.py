"""How good a CLAP model is on described tracks: search by text, neighbours, and the shape of its space.

Task: held-out synthesised tracks, each of another combination of attributes. Everything goes the way of
the product: the same windows, encoder, pooling and centring. Metrics:

- recall@5, text to audio: the share of full captions whose own track is among the first five. With n
  tracks, chance is 5/n.
- precision of a query that names one attribute: the share of right tracks among the first ten, beside
  the share of right tracks among all.
- zero-shot accuracy: the share of tracks that lie nearest to their own family's text.
- family agreement: the share of a track's five nearest neighbours that are of its instrument family.
- mean and standard deviation of the pairwise cosine, and effective rank.

What belongs here: measuring. What does not: which model, how many tracks, and what is good enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings import (
    ClapEncoder,
    MeanAccumulator,
    SanityRecord,
    Windowing,
    centre_and_normalise,
    cut_windows,
    pool_windows,
    sanity_record,
    to_log_mel,
)
from tools.demo_clap.captions import ATTRIBUTES, full_caption, single_caption
from tools.demo_clap.music import Description, play

_Vectors = npt.NDArray[np.float32]
N_NEIGHBOURS = 5
N_FOUND = 10
_CAPTION_SEED = 1
_WORDINGS = 8


@dataclass(frozen=True)
class Embedded:
    """Tracks, their captions, and the vectors of both.

    Parameters
    ----------
    descriptions : sequence of Description
        One for each track.
    captions : sequence of str
        One full caption for each track.
    audio, text : ndarray, shape (n, 512), float32
        Unit vectors as the model gives them.
    """

    descriptions: Sequence[Description]
    captions: Sequence[str]
    audio: _Vectors
    text: _Vectors


@dataclass(frozen=True)
class Precision:
    """Share of right tracks among the first ten of a query, and among all."""

    query: str
    found: float
    by_chance: float


@dataclass(frozen=True)
class Scores:
    """What was measured; shares are between 0 and 1, ``centred`` means minus the mean of all tracks."""

    n_tracks: int
    recall_at_5: float
    recall_at_5_centred: float
    recall_at_5_by_chance: float
    family_agreement: float
    agreement_centred: Mapping[str, float]
    agreement_by_chance: Mapping[str, float]
    zero_shot_family: float
    single_attribute: Sequence[Precision]
    raw: SanityRecord
    centred: SanityRecord


def embed(encoder: ClapEncoder, descriptions: Sequence[Description], take: int) -> Embedded:
    """Synthesise a take of each description, caption it in full and embed both.

    Parameters
    ----------
    encoder : ClapEncoder
        The model to be measured.
    descriptions : sequence of Description
        No two alike: a caption is to have one right answer.
    take : int
        One that the model was not trained on.

    Returns
    -------
    Embedded
        Vectors of tracks and captions, in the order of `descriptions`.
    """
    rng = np.random.default_rng([_CAPTION_SEED, take])
    captions = [full_caption(description, rng).text for description in descriptions]
    audio = np.stack([_embed_track(encoder, play(description, take)) for description in descriptions])
    return Embedded(descriptions, captions, audio, encoder.embed_texts(captions))


def score(encoder: ClapEncoder, tracks: Embedded) -> Scores:
    """Measure a model on tracks that `embed` made."""
    raw, text = tracks.audio, tracks.text
    centred, _ = centre_and_normalise(raw, MeanAccumulator.of(raw).mean)
    centred_text, _ = centre_and_normalise(text, MeanAccumulator.of(text).mean)
    values = {name: np.array([str(getattr(d, name)) for d in tracks.descriptions]) for name in ATTRIBUTES}
    return Scores(
        n_tracks=len(raw),
        recall_at_5=_recall(text @ raw.T),
        recall_at_5_centred=_recall(centred_text @ centred.T),
        recall_at_5_by_chance=N_NEIGHBOURS / len(raw),
        family_agreement=_agreement(raw, values["family"]),
        agreement_centred={name: _agreement(centred, labels) for name, labels in values.items()},
        agreement_by_chance={name: _chance_agreement(labels) for name, labels in values.items()},
        zero_shot_family=_zero_shot(encoder, raw, tracks.descriptions, "family"),
        single_attribute=_single_attribute_queries(encoder, raw, tracks.descriptions),
        raw=sanity_record(raw),
        centred=sanity_record(centred),
    )


def _embed_track(encoder: ClapEncoder, samples: npt.NDArray[np.float32]) -> _Vectors:
    return pool_windows(encoder.embed_log_mel(to_log_mel(cut_windows(samples, Windowing()))))


def _recall(similarity: _Vectors) -> float:
    """Share of rows whose diagonal entry is among their five largest."""
    better = (similarity > np.diag(similarity)[:, None]).sum(axis=1)
    return float((better < N_NEIGHBOURS).mean())


def _agreement(vectors: _Vectors, labels: npt.NDArray[np.str_]) -> float:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :N_NEIGHBOURS]
    return float((labels[nearest] == labels[:, None]).mean())


def _chance_agreement(labels: npt.NDArray[np.str_]) -> float:
    """How often two different tracks agree."""
    _, counts = np.unique(labels, return_counts=True)
    return float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))


def _zero_shot(
    encoder: ClapEncoder, audio: _Vectors, descriptions: Sequence[Description], name: str
) -> float:
    labels = [getattr(description, name) for description in descriptions]
    names = sorted(set(labels))
    texts = np.stack([_attribute_vector(encoder, name, value) for value in names])
    nearest = (audio @ texts.T).argmax(axis=1)
    return float(np.mean([names[i] == label for i, label in zip(nearest, labels, strict=True)]))


def _attribute_vector(encoder: ClapEncoder, name: str, value: object) -> _Vectors:
    """Mean direction of some wordings of one attribute."""
    rng = np.random.default_rng(_CAPTION_SEED)
    return pool_windows(
        encoder.embed_texts([single_caption(name, value, rng).text for _ in range(_WORDINGS)])
    )


def _single_attribute_queries(
    encoder: ClapEncoder, audio: _Vectors, descriptions: Sequence[Description]
) -> list[Precision]:
    found = []
    for name in ATTRIBUTES:
        labels = np.array([str(getattr(description, name)) for description in descriptions])
        for value in dict.fromkeys(getattr(description, name) for description in descriptions):
            right = labels == str(value)
            best = np.argsort(-(audio @ _attribute_vector(encoder, name, value)), kind="stable")[:N_FOUND]
            found.append(Precision(f"{name}: {value}", float(right[best].mean()), float(right.mean())))
    return sorted(found, key=lambda precision: precision.query)
