"""Train the demo's CLAP model on synthesised music: ``python -m tools.train_demo_clap WORK_FOLDER``.

Stages, each skipped where its result is there already: synthesise tracks and keep their spectrograms
(0.25 CPU seconds a track), train (0.7 CPU seconds a step), write the checkpoint. A run that was stopped,
or killed, goes on where it last saved.
"""

import argparse
import logging
import time
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from tools.demo_clap.model import new_model, new_processor
from tools.demo_clap.music import split_combinations
from tools.demo_clap.spectra import open_take, render_take, stretched
from tools.demo_clap.training import Recipe, Training

CHECKPOINT = Path(__file__).parents[1] / "audio_assets" / "demo" / "clap"
_SAVE_EVERY_S = 120.0
_LOG_EVERY = 50

log = logging.getLogger("train_demo_clap")


def main() -> None:
    """Run all stages."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(options.threads)
    descriptions = split_combinations().training
    for take in range(options.takes):
        render_take(options.folder, _name(take), descriptions, take)
        log.info("take %d of %d is there", take + 1, options.takes)
    takes = [stretched(open_take(options.folder, _name(take))) for take in range(options.takes)]
    torch.manual_seed(options.seed)
    recipe = Recipe(steps=options.steps, seed=options.seed)
    training = Training(new_model(), new_processor().tokenizer, takes, descriptions, recipe)
    _train(training, options.folder / "state", recipe.steps)
    training.model.save_pretrained(options.output)
    new_processor().save_pretrained(options.output)  # not the one in use, which remembers how it padded
    log.info("written to %s", options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="spectrograms (100 MB a take) and state are kept here")
    parser.add_argument("--takes", type=int, default=4, help="tracks of each of the 504 combinations")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=CHECKPOINT)
    return parser.parse_args()


def _name(take: int) -> str:
    return f"take-{take:03d}"


def _train(training: Training, state: Path, steps: int) -> None:
    training.resume(state)
    log.info("training from step %d", training.step)
    losses, saved = [], time.monotonic()
    while training.step < steps:
        losses.append(training.advance())
        if training.step % _LOG_EVERY == 0:
            log.info("step %d: loss %.3f", training.step, sum(losses) / len(losses))
            losses.clear()
        if time.monotonic() - saved > _SAVE_EVERY_S or training.step == steps:
            training.save(state)
            saved = time.monotonic()


if __name__ == "__main__":
    main()
