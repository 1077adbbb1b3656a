"""What people might write about a synthesised track, in full or leaving things out.

What belongs here: words, and how captions are put together. What does not: which tracks there are
(`music`), and the tokenizer that is trained on these captions (`model`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType

import numpy as np

from tools.demo_clap.music import Description

ATTRIBUTES = tuple(field.name for field in fields(Description))
#: How often a caption that leaves things out still names each attribute.
_MENTIONED = MappingProxyType(
    {"family": 0.9, "tempo": 0.55, "register": 0.4, "dynamics": 0.45, "mode": 0.35, "drums": 0.5}
)
_FAMILY_WORDS: Mapping[object, tuple[str, ...]] = MappingProxyType(
    {
        "organ": ("organ", "church organ", "pipe organ"),
        "strings": ("strings", "bowed strings", "string orchestra", "violins"),
        "plucked": ("plucked strings", "guitar", "acoustic guitar", "harp"),
        "brass": ("brass", "brass band", "trumpets", "trombones"),
        "electric_piano": ("electric piano", "Rhodes piano", "e-piano"),
        "synth_lead": ("synthesizer", "synth lead", "electronic synth"),
        "flute": ("flute", "wooden flute", "recorder"),
        "mallets": ("mallets", "marimba", "xylophone"),
    }
)
#: Said before the noun.
_ADJECTIVES: Mapping[str, Mapping[object, tuple[str, ...]]] = MappingProxyType(
    {
        "tempo": {
            "slow": ("slow", "unhurried"),
            "moderate": ("mid-tempo", "moderate"),
            "fast": ("fast", "quick", "uptempo"),
        },
        "register": {
            "low": ("low", "deep"),
            "middle": ("mid-range",),
            "high": ("high", "high-pitched"),
        },
        "dynamics": {
            "soft": ("soft", "quiet", "gentle"),
            "medium": ("moderately loud",),
            "loud": ("loud", "powerful", "bright"),
        },
        "mode": {"major": ("major", "major-key"), "minor": ("minor", "minor-key")},
    }
)
#: Said after it.
_PHRASES: Mapping[str, Mapping[object, tuple[str, ...]]] = MappingProxyType(
    {
        "tempo": {
            "slow": ("at a slow tempo", "played slowly"),
            "moderate": ("at a medium tempo", "at a walking pace"),
            "fast": ("at a fast tempo", "played fast"),
        },
        "register": {
            "low": ("in a low register", "with low notes"),
            "middle": ("in the middle register",),
            "high": ("in a high register", "with high notes"),
        },
        "dynamics": {
            "soft": ("played softly", "played quietly"),
            "medium": ("at a medium volume", "neither soft nor loud"),
            "loud": ("played loudly", "played with force"),
        },
        "mode": {"major": ("in a major key", "in major"), "minor": ("in a minor key", "in minor")},
        "drums": {
            True: ("with drums", "with a drum kit", "with percussion"),
            False: ("without drums", "no drums", "without percussion"),
        },
    }
)
_NOUNS = ("music", "piece", "tune", "track", "melody")
_LINKS = ("played by", "for", "with", "featuring")


@dataclass(frozen=True)
class Caption:
    """A text and what it says.

    Parameters
    ----------
    text : str
        The caption.
    mentioned : tuple of bool
        Which of `ATTRIBUTES` it speaks of.
    """

    text: str
    mentioned: tuple[bool, ...]


def full_caption(description: Description, rng: np.random.Generator) -> Caption:
    """Say everything about a track."""
    return _caption(asdict(description), rng)


def partial_caption(description: Description, rng: np.random.Generator) -> Caption:
    """Say something about a track: one attribute at least, the instrument most often."""
    mentioned = [name for name in ATTRIBUTES if rng.random() < _MENTIONED[name]]
    names = mentioned or [ATTRIBUTES[rng.integers(len(ATTRIBUTES))]]
    return _caption({name: getattr(description, name) for name in names}, rng)


def single_caption(attribute: str, value: object, rng: np.random.Generator) -> Caption:
    """Say one thing only, as a short query does."""
    return _caption({attribute: value}, rng)


def _caption(said: Mapping[str, object], rng: np.random.Generator) -> Caption:
    spoken = [name for name in said if name != "family"]
    rng.shuffle(spoken)
    before, after = [], []
    for name in spoken:
        if name in _ADJECTIVES and rng.random() < 0.5:
            before.append(_one_of(_ADJECTIVES[name][said[name]], rng))
        else:
            after.append(_one_of(_PHRASES[name][said[name]], rng))
    head = _head(said.get("family"), rng)
    text = _join([" ".join([*before, head]), *after], rng)
    return Caption(text, tuple(name in said for name in ATTRIBUTES))


def _head(family: object | None, rng: np.random.Generator) -> str:
    noun = _one_of(_NOUNS, rng)
    if family is None:
        return noun
    words = _one_of(_FAMILY_WORDS[family], rng)
    return _one_of((words, f"{words} {noun}", f"{noun} {_one_of(_LINKS, rng)} {words}"), rng)


def _join(parts: Sequence[str], rng: np.random.Generator) -> str:
    if len(parts) > 1 and rng.random() < 0.4:
        return ", ".join(parts[:-1]) + " and " + parts[-1]
    return _one_of((", ", " "), rng).join(parts)


def _one_of(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
