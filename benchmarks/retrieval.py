"""What a search costs: audio-assets, exact and approximate, beside what else searches vectors.

    make bench-retrieval        or: python benchmarks/retrieval.py [--sizes 1000 ...] [--work FOLDER]

Writes benchmarks/results/retrieval.json and retrieval.svg and the tables in benchmarks/README.md, which tells
what is compared. Vectors and indexes are kept below the work folder, 12 GB of them; sizes that are
not asked for keep their former figures.
"""

import argparse
import json
from pathlib import Path

import audio_assets.one_thread  # noqa: F401 - before numpy, which reads it once; child processes inherit it

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- figures of retrieval.json -->", "<!-- end of retrieval figures -->"


def main() -> None:
    from retrieval_cost.contenders import BareBlas, OursApproximate, OursExact
    from retrieval_cost.measure import measure
    from retrieval_cost.report import draw, tables

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument(
        "--work", type=Path, default=Path("data/bench"), help="where vectors and indexes are kept"
    )
    arguments = parser.parse_args()
    file = RESULTS / "retrieval.json"
    sizes = json.loads(file.read_text())["sizes"] if file.exists() else {}
    for n in arguments.sizes:
        sizes[str(n)] = measure(arguments.work, n)
    sizes = dict(sorted(sizes.items(), key=lambda item: int(item[0])))

    def rate(n: str, kind: type) -> float:
        return float(sizes[n][kind.name]["single_per_s"])

    keys = {f"exact_vs_blas_{n}": rate(n, BareBlas) / rate(n, OursExact) for n in sizes}
    largest = max(sizes, key=int)
    keys["exact_vs_blas"] = keys[f"exact_vs_blas_{largest}"]
    if "1000000" in sizes:
        keys["ann_recall_at_10_1e6"] = sizes["1000000"][OursApproximate.name]["recall_at_10"]
        keys["ann_vs_exact_1e6"] = rate("1000000", OursApproximate) / rate("1000000", OursExact)
    file.write_text(json.dumps({**keys, "sizes": sizes}, indent=1) + "\n")
    draw(sizes, RESULTS / "retrieval.svg")
    text = README.read_text(encoding="utf-8")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    README.write_text(f"{head}{BEGIN}\n{tables(sizes)}\n{END}{tail}", encoding="utf-8")
    print(tables(sizes), *(f"{name}: {value:.3f}" for name, value in keys.items()), sep="\n")


if __name__ == "__main__":
    main()
