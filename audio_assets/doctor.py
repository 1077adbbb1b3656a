"""Is this machine able to run the platform? Each finding says what was looked at and what to do."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from audio_assets.embeddings import ModelError
from audio_assets.failures import TrackFailure
from audio_assets.features import SAMPLE_RATE_HZ, extract_features
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel

_NUMBA_ADVICE = "If numba finds no place for its cache, set NUMBA_CACHE_DIR to a folder you can write to."
_LIBRARIES = ("dagster", "duckdb", "essentia", "librosa", "numpy", "pandas", "torch", "transformers")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``good`` is None where it is neither right nor wrong."""

    subject: str
    good: bool | None
    detail: str


def examine(data_dir: Path, library: Path | None, clap_model: ClapModel) -> Iterator[Finding]:
    """Look at everything a run needs.

    Parameters
    ----------
    data_dir : Path
        Data folder, existing or not.
    library : Path, optional
        Library root.
    clap_model : ClapModel
        Model to look for.

    Yields
    ------
    Finding
        In the order in which problems should be solved.
    """
    yield Finding(
        "python", None, f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores"
    )
    for name in _LIBRARIES:
        yield Finding(name, True, metadata.version(name))
    yield _data_folder(data_dir)
    if library is not None:
        yield Finding("library", library.is_dir(), str(library))
    yield _workers()
    yield from _model(clap_model)


def _data_folder(data_dir: Path) -> Finding:
    folder = data_dir.expanduser().resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    return Finding("data folder", writable, f"{folder}{'' if writable else ' cannot be written'}")


def _workers() -> Finding:
    """Have a worker process analyse a chord: the libraries load, and the processes start."""
    time_s = np.arange(5 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    beat = np.exp(-8 * (time_s % 0.5))
    chord = sum(np.sin(2 * np.pi * rate_hz * time_s) for rate_hz in (220.0, 277.18, 329.63))
    samples = (0.2 * beat * chord).astype(np.float32)
    try:
        with AnalysisPool(workers=1, track_timeout_s=120).open() as pool:
            (_, result), *_ = pool.map_unordered(extract_features, [samples])
    except RuntimeError as error:
        return Finding("worker process", False, f"{error}. {_NUMBA_ADVICE}")
    if isinstance(result, TrackFailure):
        return Finding("worker process", False, f"{result}. {_NUMBA_ADVICE}")
    tempo_bpm = result["tempo_bpm"]
    return Finding("worker process", True, f"analysed 120 BPM of A major, found {tempo_bpm:.1f} BPM")


def _model(clap_model: ClapModel) -> Iterator[Finding]:
    try:
        checkpoint = clap_model.checkpoint()
        concerns = clap_model.concerns()
    except ModelError as error:
        yield Finding("CLAP model", False, str(error))
        return
    yield Finding("CLAP model", True, f"{checkpoint.model_id}@{checkpoint.revision} in {checkpoint.path}")
    for concern in concerns:
        yield Finding("CLAP model", None, concern)
