"""``python -m tools.hostile --seed 1 --out folder``: makes the files, runs the pipeline, writes the table.

``--only-make`` leaves it at the files. Exit code 1 where a file has no end of its own, a neighbour's numbers
changed, or the pipeline failed.
"""

import audio_assets.one_thread  # isort: skip  # noqa: F401 - first, as for the pipeline's own process

import argparse
import sys
from pathlib import Path

from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
from resources.analysis_pool import AnalysisPool
from tools.hostile.corpus import corpus, write
from tools.hostile.run import Site, neighbours, remove, try_all
from tools.hostile.table import complaints, summary, table


def main() -> None:
    """Make the corpus, and run it."""
    parser = argparse.ArgumentParser(prog="python -m tools.hostile")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="A new folder.")
    parser.add_argument("--only-make", action="store_true", help="Write the files below it, and no more.")
    parser.add_argument("--document", type=Path, help="Markdown file whose end is replaced by the table.")
    options = parser.parse_args()
    cases = list(corpus(options.seed))
    options.out.mkdir(parents=True)
    if options.only_make:
        write(cases, options.out)
        return
    good = list(neighbours(options.seed))
    model = copy_demo_checkpoint(options.out / "demo-clap")
    pool = AnalysisPool(workers=2)
    alone = try_all(Site(options.out / "alone", options.out / "alone-data", model, pool), good)
    print(f"{len(good)} neighbours alone: {alone.elapsed_s:.0f} s", flush=True)
    verdict = try_all(Site(options.out / "music", options.out / "data", model, pool), [*good, *cases])
    found = complaints(verdict, alone, [*good, *cases])
    text = "\n".join([summary(verdict, alone, cases, pool, options.seed), "", table(verdict, cases)])
    print(text)
    for complaint in found:
        print(f"FINDING: {complaint}")
    if options.document:
        marker = "<!-- written by tools/hostile -->"
        kept = options.document.read_text(encoding="utf-8").partition(marker)[0]
        options.document.write_text(f"{kept}{marker}\n\n{text}\n", encoding="utf-8")
    if found:
        sys.exit(1)  # the folder stays, to be looked at
    remove(options.out)


if __name__ == "__main__":
    main()
