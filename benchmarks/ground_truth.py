"""Tempo and key against music that was written for it: both extractors, and the original's formulas.

    python benchmarks/ground_truth.py

Renders the pieces of `tests/rendered_music.py` (needs fluidsynth and fluid-soundfont-gm), analyses each in
three ways, and rewrites what stands between the markers of docs/accuracy.md. It takes 4.5 CPU minutes.
"""

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import audio_assets.one_thread  # noqa: F401 - before numpy, which reads the environment once

# isort: split
import numpy as np
from numpy.typing import NDArray

from audio_assets.features import SAMPLE_RATE_HZ, extract_features

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from rendered_music import MISSING, TEMPI_BPM, Piece, ambiguous_pieces, key_pieces, tempo_pieces  # noqa: E402
from tempo_key_scores import (  # noqa: E402
    OCTAVES,
    TOLERANCE,
    key_name,
    key_score,
    row_key,
    tempi_bpm,
    tempo_factor,
)

DOCUMENT = ROOT / "docs" / "accuracy.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

KEY_ARRANGEMENTS = ("piano", "band", "song")
TEMPO_ARRANGEMENTS = ("clicks", "drums", "song", "band", "piano")
QUANTITIES = ("tempo_bpm", "60 / beat_interval_mean", "bpm_first_peak")
SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class Answer:
    """What one way of analysing says about one piece."""

    tempi_bpm: dict[str, float | None]
    key: str


Answers = dict[Piece, dict[str, Answer]]


def fast(samples: NDArray[np.float32]) -> Answer:
    row = extract_features(samples, "fast")
    return Answer(tempi_bpm(row), row_key(row))


def reference(samples: NDArray[np.float32]) -> Answer:
    row = extract_features(samples, "reference")
    return Answer(tempi_bpm(row), row_key(row))


def original(samples: NDArray[np.float32]) -> Answer:
    """The original pipeline's formulas: the libraries called directly, no seed, sharps only, else C."""
    import essentia.standard as es
    import librosa

    tempo = librosa.beat.beat_track(y=samples, sr=SAMPLE_RATE_HZ)[0]
    *_, intervals_s = es.RhythmExtractor2013(method="multifeature")(samples)
    first_peak, *_ = es.BpmHistogramDescriptors()(intervals_s)
    key, scale, _ = es.KeyExtractor()(samples)
    tonic = SHARPS.index(key) if key in SHARPS else 0
    tempi = (float(np.ravel(tempo)[0]), 60 / float(np.mean(intervals_s)), float(first_peak))
    return Answer(dict(zip(QUANTITIES, tempi, strict=True)), key_name(tonic, scale == "minor"))


WAYS: dict[str, Callable[[NDArray[np.float32]], Answer]] = {
    "original": original,
    "reference": reference,
    "fast": fast,
}


def analyse(pieces: Iterable[Piece]) -> Answers:
    answers: Answers = {}
    with TemporaryDirectory() as folder:
        for piece in pieces:
            samples = piece.samples(Path(folder))
            answers[piece] = {name: way(samples) for name, way in WAYS.items()}
            print(".", end="", file=sys.stderr, flush=True)
    return answers


def table(head: Iterable[object], rows: Iterable[list[object]]) -> list[str]:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines] + [""]


def truth(piece: Piece) -> str:
    return key_name(piece.tonic, piece.minor)


def key_row(way: str, arrangement: str, answers: Answers) -> list[object]:
    def exact(minor: bool) -> str:
        found = [of[way].key == truth(piece) for piece, of in answers.items() if piece.minor == minor]
        return f"{sum(found)} of {len(found)}" if found else ""

    score = np.mean([key_score(of[way].key, truth(piece)) for piece, of in answers.items()])
    return [arrangement, way, exact(minor=False), exact(minor=True), f"{score:.2f}"]


def key_tables(answers: Answers) -> list[str]:
    rows, wrong = [], []
    for arrangement in dict.fromkeys(piece.arrangement for piece in answers):
        pieces = {piece: of for piece, of in answers.items() if piece.arrangement == arrangement}
        for way in WAYS:
            rows.append(key_row(way, arrangement, pieces))
            errors = [f"{truth(p)} → {of[way].key}" for p, of in pieces.items() if of[way].key != truth(p)]
            wrong += [f"- {arrangement}, {way}: {', '.join(errors)}"] if errors else []
    return [
        "### Key\n",
        *table(("arrangement", "way", "major exact", "minor exact", "weighted score"), rows),
        "Wrong ones (truth → answer):\n",
        *wrong,
        "",
    ]


def hits(answers: Answers, way: str, quantity: str) -> str:
    """Exact / up to octave, as two counts."""
    factors = [tempo_factor(of[way].tempi_bpm[quantity], piece.bpm) for piece, of in answers.items()]
    return f"{factors.count('1')} / {sum(factor in OCTAVES for factor in factors)}"


def other_at_twice_the_tolerance(answers: Answers) -> str:
    found = [
        (tempo_factor(found_bpm, piece.bpm), tempo_factor(found_bpm, piece.bpm, 2 * TOLERANCE))
        for piece, of in answers.items()
        for answer in of.values()
        for found_bpm in answer.tempi_bpm.values()
    ]
    other = sum(narrow != wide for narrow, wide in found)
    return f"Within {2 * TOLERANCE:.0%} instead, {other} of these {len(found)} answers count otherwise.\n"


def tempo_summary(answers: Answers) -> list[str]:
    groups = {
        name: {piece: of for piece, of in answers.items() if piece.arrangement == name}
        for name in TEMPO_ARRANGEMENTS
    }
    rows = [
        [quantity, way, *(hits(group, way, quantity) for group in [*groups.values(), answers])]
        for quantity in QUANTITIES
        for way in WAYS
    ]
    head = ("column", "way", *(f"{name} ({len(of)})" for name, of in groups.items()), f"all ({len(answers)})")
    return [
        f"### Tempo within {TOLERANCE:.0%}: exact / up to octave\n",
        *table(head, rows),
        other_at_twice_the_tolerance(answers),
    ]


def tempo_factors(answers: Answers, quantity: str) -> list[str]:
    def cell(bpm: float, arrangement: str) -> str:
        [(piece, of)] = [(p, of) for p, of in answers.items() if (p.bpm, p.arrangement) == (bpm, arrangement)]
        found = of["fast"].tempi_bpm[quantity]
        factor = tempo_factor(found, piece.bpm)
        return {"1": "·", "other": f"{found:.0f} BPM"}.get(factor, factor)

    rows = [[bpm, *(cell(bpm, name) for name in TEMPO_ARRANGEMENTS)] for bpm in TEMPI_BPM]
    return [f"`{quantity}`:\n", *table(("BPM", *TEMPO_ARRANGEMENTS), rows)]


def agreement(answers: Answers) -> str:
    """In how many pieces the three ways decide alike; the original's key is left out, it has a defect."""
    alike = [
        of["fast"].key == of["reference"].key
        and len({tuple(tempo_factor(of[way].tempi_bpm[q], piece.bpm) for q in QUANTITIES) for way in WAYS})
        == 1
        for piece, of in answers.items()
    ]
    return (
        f"In {sum(alike)} of {len(alike)} pieces fast and reference give the same key, and all three ways "
        "the same factor for each of the three tempi.\n"
    )


def measured() -> str:
    keys = analyse([*key_pieces(KEY_ARRANGEMENTS), *ambiguous_pieces()])
    tempi = analyse(tempo_pieces(TEMPO_ARRANGEMENTS))
    synthesiser = subprocess.run(["fluidsynth", "--version"], capture_output=True, text=True, check=True)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("essentia", "librosa"))
    return "\n".join(
        [
            f"Measured with {synthesiser.stdout.splitlines()[0]}, {libraries}.",
            agreement(keys | tempi),
            *key_tables(keys),
            *tempo_summary(tempi),
            "### Which tempi fail, and how\n",
            "Factor of the true tempo that `fast` finds; a dot where it is the tempo itself.\n",
            *(line for quantity in QUANTITIES for line in tempo_factors(tempi, quantity)),
        ]
    )


def main() -> None:
    if MISSING:
        sys.exit(MISSING)
    tables = measured()
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{tables}{END}{after}")


if __name__ == "__main__":
    main()
