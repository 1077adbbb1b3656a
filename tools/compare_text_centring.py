"""Compare what a text query is centred with: ``python -m tools.compare_text_centring [FOLDER]``.

Prints Markdown for docs/embeddings.md. The tracks are those that `tools.evaluate_demo_clap` measures, centred
with their own mean as in the index; the texts are centred with the mean of the fixed prompts, with the
tracks' mean, or not at all.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_assets.embeddings import (
    ClapEncoder,
    MeanAccumulator,
    TextTower,
    centre_and_normalise,
    mean_text,
    resolve_checkpoint,
)
from tools.demo_clap.captions import ATTRIBUTES, Caption, partial_caption
from tools.demo_clap.music import Description, split_combinations
from tools.demo_clap.scores import embed
from tools.evaluate_demo_clap import TEST_TAKE
from tools.train_demo_clap import CHECKPOINT

_FIRST = (1, 5, 10)
_PARTIAL_SEED = 7


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=CHECKPOINT)
    folder = parser.parse_args().folder
    checkpoint = resolve_checkpoint(str(folder), "local", folder, offline=True)
    encoder, tower = ClapEncoder(checkpoint, device="cpu"), TextTower(checkpoint, "cpu")
    tracks = embed(encoder, split_combinations().test, TEST_TAKE)
    track_mean = MeanAccumulator.of(tracks.audio).mean
    centred, _ = centre_and_normalise(tracks.audio, track_mean)
    rng = np.random.default_rng(_PARTIAL_SEED)
    captions = [partial_caption(description, rng) for description in tracks.descriptions]
    partial = tower.embed([caption.text for caption in captions])
    fits = _fits(captions, tracks.descriptions)
    means = {
        "mean of texts": mean_text(tower).astype(np.float64),
        "mean of tracks": track_mean,
        "nothing": np.zeros_like(track_mean),
    }
    print("| texts minus | " + " | ".join(f"recall@{k}" for k in _FIRST) + " | right of the first ten |")
    print("|---|" + "---|" * (len(_FIRST) + 1))
    for name, mean in means.items():
        found = [f"{_recall(_scores(tracks.text, mean, centred), k):.1%}" for k in _FIRST]
        right = _right_of_first_ten(_scores(partial, mean, centred), fits)
        print(f"| {name} | {' | '.join(found)} | {right:.1%} |")
    print(f"| (chance) | {' | '.join(f'{k / len(centred):.1%}' for k in _FIRST)} | {fits.mean():.1%} |")


def _scores(
    texts: npt.NDArray[np.float32], mean: npt.NDArray[np.float64], tracks: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    scores: npt.NDArray[np.float32] = centre_and_normalise(texts, mean)[0] @ tracks.T
    return scores


def _recall(scores: npt.NDArray[np.float32], k: int) -> float:
    """Share of captions, the rows, whose own track is among the first k."""
    better = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return float((better < k).mean())


def _right_of_first_ten(scores: npt.NDArray[np.float32], fits: npt.NDArray[np.bool_]) -> float:
    first = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    return float(np.take_along_axis(fits, first, axis=1).mean())


def _fits(captions: Sequence[Caption], tracks: Sequence[Description]) -> npt.NDArray[np.bool_]:
    """Whether all that a caption, a row, says is true of a track, a column; each is true of one at least."""
    values = np.array([[str(asdict(track)[name]) for name in ATTRIBUTES] for track in tracks])
    mentioned = np.array([caption.mentioned for caption in captions])
    same = values[:, None, :] == values[None, :, :]
    fits: npt.NDArray[np.bool_] = (same | ~mentioned[:, None, :]).all(axis=2)
    return fits


if __name__ == "__main__":
    main()
