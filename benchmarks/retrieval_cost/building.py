"""Building each contender in a process of its own, and opening it in another to see what it holds.

    python -m retrieval_cost.building build|open NAME FOLDER N

What was built is kept, with what it cost, and not built again.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_cost.contenders import CONTENDERS, Contender, Vectors
from retrieval_cost.vectors import DIMS, raw_blocks

HELD_OUT = 1_000


def vectors_of(work: Path, n: int) -> tuple[Path, Vectors, Vectors]:
    """Path of n centred unit vectors and the held-out queries behind them; then both, mapped."""
    path = work / f"vectors-{n}.npy"
    if not path.exists():
        _write_vectors(path, n)
    matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    return path, matrix[:n], matrix[n:]


def _write_vectors(path: Path, n: int) -> None:
    """Queries are centred with the mean of the others, as of tracks that are not in the library."""
    total, seen = np.zeros(DIMS), 0
    for block in raw_blocks(n + HELD_OUT):
        total += block[: max(0, n - seen)].sum(axis=0, dtype=np.float64)
        seen += len(block)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    out = np.lib.format.open_memmap(unfinished, "w+", np.float32, (n + HELD_OUT, DIMS))
    start = 0
    for block in raw_blocks(n + HELD_OUT):
        centred = block - total / n
        out[start : start + len(block)] = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        start += len(block)
    out.flush()
    unfinished.rename(path)


def folder_of(work: Path, name: str, n: int) -> Path:
    return work / f"{''.join(c if c.isalnum() else '-' for c in name)}-{n}"


def built(work: Path, name: str, n: int) -> dict[str, float]:
    """Cost of building a contender: `cpu_s` and `bytes`; it is built unless it was before."""
    noted = folder_of(work, name, n) / "built.json"
    if not noted.exists():
        _child("build", name, work, n)
    return json.loads(noted.read_text())


def resident(work: Path, name: str, n: int) -> dict[str, float]:
    """Memory of a process that opened a contender and asked it 100 times, in MB, beyond one that did not."""
    return json.loads(_child("open", name, work, n))


def _child(what: str, name: str, work: Path, n: int) -> str:
    command = [sys.executable, "-m", "retrieval_cost.building", what, name, str(work), str(n)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def contender_named(name: str) -> Contender:
    return next(kind for kind in CONTENDERS if kind.name == name)()


def _build(name: str, work: Path, n: int) -> None:
    folder = folder_of(work, name, n)
    folder.mkdir(parents=True, exist_ok=True)
    _, matrix, _ = vectors_of(work, n)
    started = time.process_time()
    contender_named(name).build(matrix, folder)
    cpu_s = time.process_time() - started
    size = sum(path.stat().st_size for path in folder.iterdir())
    (folder / "built.json").write_text(json.dumps({"cpu_s": cpu_s, "bytes": size}))


def _open(name: str, work: Path, n: int) -> dict[str, Any]:
    path, _, held_out = vectors_of(work, n)
    queries = np.array(held_out[:100])
    before = _memory_mb()
    contender = contender_named(name)
    contender.open(path, n, folder_of(work, name, n))
    for query in queries[: 100 if n < 10**6 or not contender.is_exact else 5]:
        contender.search(query[None], 10)
    return {kind: value - before[kind] for kind, value in _memory_mb().items()}


def _memory_mb() -> dict[str, float]:
    """Own memory, and pages of mapped files, which the system takes back when it needs them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Rss")}
    return {"own_mb": values["RssAnon"], "mapped_mb": values["RssFile"]}


if __name__ == "__main__":
    what, name, work, n = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    if what == "build":
        _build(name, work, n)
    else:
        print(json.dumps(_open(name, work, n)))
