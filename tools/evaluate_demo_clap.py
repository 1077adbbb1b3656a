"""Measure a CLAP model on held-out synthesised tracks: ``python -m tools.evaluate_demo_clap [FOLDER]``.

Prints Markdown for the model card. Tracks are of combinations of attributes, and of takes, that the demo
model was not trained on.
"""

import argparse
from pathlib import Path

from audio_assets.embeddings import ClapEncoder, ModelHealth, check_model_health, resolve_checkpoint
from tools.demo_clap.music import split_combinations
from tools.demo_clap.scores import Scores, embed, score
from tools.train_demo_clap import CHECKPOINT

#: Takes 0 and up are for training, 1000 for choosing the recipe.
TEST_TAKE = 2000


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=CHECKPOINT)
    folder = parser.parse_args().folder
    checkpoint = resolve_checkpoint(str(folder), "local", folder, offline=True)
    encoder = ClapEncoder(checkpoint, device="cpu")
    scores = score(encoder, embed(encoder, split_combinations().test, TEST_TAKE))
    print("\n".join(_markdown(scores, check_model_health(checkpoint))))


def _markdown(scores: Scores, health: ModelHealth) -> list[str]:
    raw, centred = scores.raw, scores.centred
    return [
        f"| on {scores.n_tracks} held-out tracks | model | chance |",
        "|---|---|---|",
        _row("recall@5, full caption to its own track", scores.recall_at_5, scores.recall_at_5_by_chance),
        _row("the same, both centred", scores.recall_at_5_centred, scores.recall_at_5_by_chance),
        _row("zero-shot instrument family", scores.zero_shot_family, scores.agreement_by_chance["family"]),
        _row(
            "five neighbours of the same family",
            scores.family_agreement,
            scores.agreement_by_chance["family"],
        ),
        *(
            _row(f"five neighbours of the same {name}, centred", share, scores.agreement_by_chance[name])
            for name, share in scores.agreement_centred.items()
        ),
        "",
        "| query that names one thing | right of the first ten | right of all |",
        "|---|---|---|",
        *(_row(p.query, p.found, p.by_chance) for p in scores.single_attribute),
        "",
        "| shape of the space | raw | centred |",
        "|---|---|---|",
        f"| mean pairwise cosine | {raw.mean_pairwise_cosine:.3f} | {centred.mean_pairwise_cosine:.3f} |",
        f"| its standard deviation | {raw.std_pairwise_cosine:.3f} | {centred.std_pairwise_cosine:.3f} |",
        f"| effective rank | {raw.effective_rank:.1f} | {centred.effective_rank:.1f} |",
        "",
        f"Mean cosine of 32 unrelated prompts: {health.mean_prompt_cosine:.3f}. "
        f"Signs of an untrained model: {len(health.problems)}.",
    ]


def _row(name: str, share: float, by_chance: float) -> str:
    return f"| {name} | {share:.1%} | {by_chance:.1%} |"


if __name__ == "__main__":
    main()
