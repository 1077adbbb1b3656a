"""What it takes to analyse a library: processor time, machines and money, from rates that were measured.

    python -m tools.cost                                       the table of docs/scaling.md
    python -m tools.cost --tracks 1e6 --minutes 4 --windows 6  a million whole songs
    python -m tools.cost --machine "mine,64,0,1.10"            name, cores, TFLOP/s of its GPU, price an hour

Rates on a processor were measured (benchmarks/README.md, docs/embeddings.md). Those of GPUs are worked out of
floating-point operations and were measured nowhere. Prices are assumptions; put in your own.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: CPU seconds. A minute of audio through the features, and through a decoder of Vorbis (of WAV it is 0.022).
FEATURES_S_A_MINUTE = 0.12
DECODING_S_A_MINUTE = 0.107
#: A window of ten seconds through CLAP's audio tower in bfloat16; resampled and made a spectrogram.
TOWER_S_A_WINDOW = 0.203
FRONT_END_S_A_WINDOW = 0.006
#: A batch: a process of its own starts and loads everything. A worker that is there already takes 0.6.
BATCH_S = 10.0
TRACKS_A_BATCH = 256
#: All tables made anew: centring, both indexes, publishing and exports, a track.
REBUILD_S = 900e-6
BYTES_A_TRACK = 19_600
#: A window, and the share of a GPU's peak that is assumed to be reached; on a processor it is 0.7.
GFLOP_A_WINDOW = 30.7
GPU_SHARE = 0.3
#: Of the time of all cores, as the last batches do not end together.
BUSY_SHARE = 0.9


@dataclass(frozen=True)
class Machine:
    """A machine to rent: its cores, its GPU (0 for none), what an hour costs."""

    name: str
    cores: float
    gpu_tflops: float
    usd_an_hour: float


#: Assumed, November 2026, in USD, of the size and price that large providers ask on demand.
MACHINES = (
    Machine("16 cores", 16, 0, 0.64),
    Machine("16 cores, spot", 16, 0, 0.22),
    Machine("8 cores, L4", 8, 121, 0.85),
    Machine("32 cores, L4", 32, 121, 1.75),
    Machine("12 cores, A100", 12, 312, 3.70),
)


@dataclass(frozen=True)
class Library:
    """Tracks, how long each is, and how many windows are taken of it."""

    tracks: float
    minutes: float
    windows: float

    @property
    def processor_s(self) -> float:
        """CPU seconds of everything but the model."""
        decoded_twice = 2 * DECODING_S_A_MINUTE * self.minutes  # by each of the two tables
        a_track = FEATURES_S_A_MINUTE * self.minutes + decoded_twice + FRONT_END_S_A_WINDOW * self.windows
        return self.tracks * (a_track + BATCH_S / TRACKS_A_BATCH + REBUILD_S)

    def hours(self, machine: Machine) -> float:
        """Hours on one machine; the model and the rest go on beside each other where there is a GPU."""
        n_windows = self.tracks * self.windows
        cores = machine.cores * BUSY_SHARE
        if not machine.gpu_tflops:
            return (self.processor_s + n_windows * TOWER_S_A_WINDOW) / cores / 3600
        gpu_s = n_windows * GFLOP_A_WINDOW / (machine.gpu_tflops * 1e3 * GPU_SHARE)
        return max(self.processor_s / cores, gpu_s) / 3600


def table(libraries: Sequence[Library], machines: Sequence[Machine]) -> Iterator[str]:
    """Lines of a table: hours on one machine, and what they cost whatever their number."""
    heads = [f"{library.tracks:,.0f} tracks of {library.minutes:g} min" for library in libraries]
    yield f"| machine, USD an hour | {' | '.join(heads)} |"
    yield f"|---|{'---:|' * len(libraries)}"
    for machine in machines:
        hours = [library.hours(machine) for library in libraries]
        cells = (f"{_figures(h)} h, {_figures(h * machine.usd_an_hour)} USD" for h in hours)
        yield f"| {machine.name}, {machine.usd_an_hour:.2f} | {' | '.join(cells)} |"
    sizes = (f"{_figures(library.tracks * BYTES_A_TRACK / 1e9)} GB" for library in libraries)
    yield f"| on disk | {' | '.join(sizes)} |"


def _figures(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


CLIPS = tuple(Library(tracks, minutes=0.5, windows=3) for tracks in (1e5, 1e6, 1e7))
SONGS = tuple(Library(tracks, minutes=4, windows=6) for tracks in (1e5, 1e6, 1e7))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tracks", type=float)
    parser.add_argument("--minutes", type=float, default=0.5, help="length of a track")
    parser.add_argument("--windows", type=float, default=3, help="windows of a track, 6 from a minute on")
    parser.add_argument("--machine", action="append", help="NAME,CORES,TFLOPS,USD_AN_HOUR")
    arguments = parser.parse_args()
    given = [text.split(",") for text in arguments.machine or ()]
    machines = [Machine(name, *map(float, numbers)) for name, *numbers in given] or MACHINES
    libraries: list[tuple[Library, ...]] = [CLIPS, SONGS]
    if arguments.tracks:
        libraries = [(Library(arguments.tracks, arguments.minutes, arguments.windows),)]
    print("\n\n".join("\n".join(table(some, machines)) for some in libraries))


if __name__ == "__main__":
    main()
