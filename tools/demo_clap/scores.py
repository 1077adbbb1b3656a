"""How good a CLAP model is on described tracks: search by text, neighbours, and the shape of its space.

Task: held-out synthesised tracks, each of another combination of attributes. Everything goes the way of
the product: the same windows, encoder, pooling and centring. The centring of a search is
that of tracks by their own mean and of texts by the mean of fixed prompts; where it could matter, figures are
beside those without it. Metrics:

- recall@5, text to audio: the share of full captions whose own track is among the first five. With n
  tracks, chance is 5/n.
- precision of a query that names one attribute: the share of right tracks among the first ten, mean over
  eight wordings, each a query of its own, beside the share of right tracks among all.
- zero-shot accuracy: the share of tracks that lie nearest to the mean of their own family's wordings.
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
    TextTower,
    Windowing,
    centre_and_normalise,
    cut_windows,
    mean_text,
    pool_windows,
    sanity_record,
    to_log_mel,
)
from tools.demo_clap.captions import ATTRIBUTES, full_caption, single_caption
from tools.demo_clap.music import Description, play

_Vectors = npt.NDArray[np.float32]
#: Name and value.
_Attribute = tuple[str, str]
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
    """Share of right tracks among the first ten, over eight wordings of a query, and among all."""

    query: str
    found: float
    found_centred: float
    by_chance: float


@dataclass(frozen=True)
class Scores:
    """What was measured, as shares between 0 and 1.

    ``centred`` is what the product does: tracks minus the mean of all tracks, texts minus `mean_text`.
    """

    n_tracks: int
    recall_at_5: float
    recall_at_5_centred: float
    recall_at_5_by_chance: float
    family_agreement: float
    agreement_centred: Mapping[str, float]
    agreement_by_chance: Mapping[str, float]
    zero_shot_family: float
    zero_shot_family_centred: float
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
    return Embedded(descriptions, captions, audio, TextTower(encoder.checkpoint, "cpu").embed(captions))


def score(encoder: ClapEncoder, tracks: Embedded) -> Scores:
    """Measure a model on tracks that `embed` made."""
    raw, text = tracks.audio, tracks.text
    centred, _ = centre_and_normalise(raw, MeanAccumulator.of(raw).mean)
    tower = TextTower(encoder.checkpoint, "cpu")
    prompts_mean = mean_text(tower).astype(np.float64)
    centred_text, _ = centre_and_normalise(text, prompts_mean)
    values = {name: np.array([str(getattr(d, name)) for d in tracks.descriptions]) for name in ATTRIBUTES}
    texts = _attribute_texts(tower, tracks.descriptions)
    centred_texts = {key: centre_and_normalise(of_key, prompts_mean)[0] for key, of_key in texts.items()}
    return Scores(
        n_tracks=len(raw),
        recall_at_5=_recall(text @ raw.T),
        recall_at_5_centred=_recall(centred_text @ centred.T),
        recall_at_5_by_chance=N_NEIGHBOURS / len(raw),
        family_agreement=_agreement(raw, values["family"]),
        agreement_centred={name: _agreement(centred, labels) for name, labels in values.items()},
        agreement_by_chance={name: _chance_agreement(labels) for name, labels in values.items()},
        zero_shot_family=_zero_shot(texts, raw, values["family"]),
        zero_shot_family_centred=_zero_shot(centred_texts, centred, values["family"]),
        single_attribute=_single_attribute_queries(texts, raw, centred_texts, centred, values),
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


def _attribute_texts(tower: TextTower, descriptions: Sequence[Description]) -> dict[_Attribute, _Vectors]:
    """Embed some wordings of each value of each attribute."""
    texts = {}
    for name in ATTRIBUTES:
        for value in dict.fromkeys(getattr(description, name) for description in descriptions):
            rng = np.random.default_rng(_CAPTION_SEED)
            wordings = [single_caption(name, value, rng).text for _ in range(_WORDINGS)]
            texts[name, str(value)] = tower.embed(wordings)
    return texts


def _zero_shot(
    texts: Mapping[_Attribute, _Vectors], audio: _Vectors, families: npt.NDArray[np.str_]
) -> float:
    names = sorted(value for name, value in texts if name == "family")
    nearest = (audio @ np.stack([pool_windows(texts["family", name]) for name in names]).T).argmax(axis=1)
    return float((np.array(names)[nearest] == families).mean())


def _single_attribute_queries(
    texts: Mapping[_Attribute, _Vectors],
    audio: _Vectors,
    centred_texts: Mapping[_Attribute, _Vectors],
    centred: _Vectors,
    values: Mapping[str, npt.NDArray[np.str_]],
) -> list[Precision]:
    found = []
    for (name, value), text in sorted(texts.items()):
        right = values[name] == value
        found.append(
            Precision(
                f"{name}: {value}",
                _right_of_first(text @ audio.T, right),
                _right_of_first(centred_texts[name, value] @ centred.T, right),
                float(right.mean()),
            )
        )
    return found


def _right_of_first(similarity: _Vectors, right: npt.NDArray[np.bool_]) -> float:
    """Share over all queries, the rows."""
    first = np.argsort(-similarity, axis=1, kind="stable")[:, :N_FOUND]
    return float(right[first].mean())
