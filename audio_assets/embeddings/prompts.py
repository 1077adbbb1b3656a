"""Fixed texts: unrelated ones to measure a text tower by, and music ones to centre queries with.

What belongs here: the texts, and the mean direction of a tower over them. What does not: limits
(``health``) and search.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from audio_assets.embeddings.towers import TextTower

#: Captions that have nothing in common: a text tower that finds them alike tells nothing apart.
UNRELATED_PROMPTS = (
    "a slow piano ballad", "aggressive death metal", "birds singing at dawn", "a crowd cheering in a stadium",
    "minimal techno with a deep kick", "a string quartet", "someone typing on a keyboard", "Brazilian samba",
    "a dog barking", "gregorian chant", "heavy rain on a roof", "funk bass line", "a baby crying",
    "acoustic folk guitar", "an ambulance siren", "dub reggae", "solo flute", "hip hop beat with scratching",
    "waves on a beach", "an orchestra tuning up", "a man giving a speech", "bluegrass banjo", "church bells",
    "dark ambient drone", "a steam train", "mariachi trumpets", "glass breaking", "a jazz trio with brushes",
    "eight-bit video game music", "bagpipes", "laughter", "opera soprano",
)  # fmt: skip

#: What people ask a music library for. Their mean is what all such texts share and no track differs by.
MUSIC_PROMPTS = (
    "slow music", "fast music", "sad music", "happy music", "calm and relaxing", "dark and tense",
    "aggressive and loud", "quiet and soft", "romantic", "dreamy", "energetic dance music", "music in minor",
    "music in major", "piano", "acoustic guitar", "distorted electric guitar", "violins", "cello", "flute",
    "trumpet", "saxophone", "organ", "bells", "synthesizer", "drums", "deep bass", "a choir",
    "a female singer", "a male singer", "rap vocals", "instrumental without vocals", "no drums", "rock",
    "pop song", "jazz", "blues", "folk", "country", "classical orchestra", "chamber music", "heavy metal",
    "punk", "electronic", "techno", "house", "ambient", "hip hop", "reggae", "soul", "funk", "Latin dance",
    "film score", "a slow piano piece in minor", "a fast rock song with drums", "gentle music for sleeping",
    "upbeat music for a party", "a mournful string melody", "a low drone", "high bright melody",
    "a steady beat at medium tempo",
)  # fmt: skip


def mean_text(tower: "TextTower") -> npt.NDArray[np.float32]:
    """Mean of a tower's vectors of `MUSIC_PROMPTS`: what a text query is centred with.

    Parameters
    ----------
    tower : TextTower
        A loaded text tower.

    Returns
    -------
    np.ndarray, shape (512,), float32
        Not of unit length.
    """
    mean: npt.NDArray[np.float32] = tower.embed(list(MUSIC_PROMPTS)).mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)
