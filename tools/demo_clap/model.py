"""The untrained miniature: CLAP's architecture at a thousandth of its cost, and its tokenizer.

What belongs here: sizes and vocabulary. What does not: training (`training`).
"""

import json
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import ClapConfig, ClapModel, ClapProcessor, RobertaTokenizer

from audio_assets.embeddings import DEMO_MARKER, EMBEDDING_DIM
from tools.demo_clap.captions import full_caption
from tools.demo_clap.music import split_combinations
from tools.demo_clap.spectra import new_extractor

_VOCABULARY_SIZE = 600
_SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
#: Words that no caption uses, so that a query that does is not read letter by letter.
_OTHER_WORDS = """
    happy sad angry calm tense dark warm cold aggressive romantic dreamy song ballad dance beat rhythm harmony
    chord solo voice choir singing piano bass cello clarinet saxophone acoustic distorted electric orchestra
    rock pop jazz blues folk metal classical ambient techno house soul funk reggae country march
"""
_AUDIO_CONFIG = {
    "patch_size": 16,
    "patch_stride": [16, 16],
    "depths": [1, 2],
    "num_attention_heads": [4, 8],
    "patch_embeds_hidden_size": 64,
    "hidden_size": 128,
    "num_hidden_layers": 2,
}
_TEXT_CONFIG = {
    "vocab_size": _VOCABULARY_SIZE,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 130,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def new_model() -> ClapModel:
    """Make the model as transformers initialises it, from torch's random state."""
    config = ClapConfig(audio_config=_AUDIO_CONFIG, text_config=_TEXT_CONFIG, projection_dim=EMBEDDING_DIM)
    setattr(config, DEMO_MARKER, True)
    return ClapModel(config)


def new_processor() -> ClapProcessor:
    """Make the feature extractor of the real model, and a tokenizer trained on captions."""
    return ClapProcessor(new_extractor(), _train_tokenizer())  # type: ignore[no-untyped-call]


def _train_tokenizer() -> RobertaTokenizer:
    rng = np.random.default_rng(0)
    captions = [full_caption(d, rng).text for d in split_combinations().training for _ in range(10)]
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY_SIZE,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*captions, *_OTHER_WORDS.split()], trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    merges: list[Any] = [tuple(merge) for merge in trained["merges"]]
    return RobertaTokenizer(vocab=trained["vocab"], merges=merges)
