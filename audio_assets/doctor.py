"""Is this machine able to run the platform? Each finding says what was looked at and what to do."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio_assets.embeddings import ModelError, ModelMissingError
from audio_assets.failures import TrackFailure
from audio_assets.features import SAMPLE_RATE_HZ, extract_features
from audio_assets.features.agreement import agrees
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel

_AGREEMENT_ADVICE = (
    "Remove the folder audio-assets in NUMBA_CACHE_DIR or ~/.cache and try again; "
    "where the C library is not glibc the reference's beats may differ."
)
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
    yield from _dagster_settings(data_dir)
    if library is not None:
        yield Finding("library", library.is_dir(), str(library))
    yield _workers()
    yield _agreement()
    yield from _model(clap_model)


def _data_folder(data_dir: Path) -> Finding:
    folder = data_dir.expanduser().resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    return Finding("data folder", writable, f"{folder}{'' if writable else ' cannot be written'}")


def _dagster_settings(data_dir: Path) -> Iterator[Finding]:
    """Tell of settings that are not this version's: they were copied when the folder was made."""
    path = data_dir.expanduser().resolve() / "dagster" / "dagster.yaml"
    shipped = resources.files("audio_assets").joinpath("dagster.yaml")
    if path.exists() and path.read_bytes() != shipped.read_bytes():
        detail = f"{path} is not as shipped with this version; unless you changed it, compare with {shipped}"
        yield Finding("Dagster settings", None, detail)


def _workers() -> Finding:
    """Have a worker process analyse a chord: the libraries load, and the processes start."""
    try:
        with AnalysisPool(workers=1, track_timeout_s=120).open() as pool:
            (_, result), *_ = pool.map_unordered(extract_features, [_pulsing_chord()])
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return Finding("worker process", False, f"{type(error).__name__}: {error}")
    if isinstance(result, TrackFailure):
        return Finding("worker process", False, str(result))
    tempo_bpm = result["tempo_bpm"]
    return Finding("worker process", True, f"analysed 120 BPM of A major, found {tempo_bpm:.1f} BPM")


def _pulsing_chord() -> NDArray[np.float32]:
    """Five seconds of A major at 120 BPM."""
    time_s = np.arange(5 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    beat = np.exp(-8 * (time_s % 0.5))
    chord = sum(np.sin(2 * np.pi * rate_hz * time_s) for rate_hz in (220.0, 277.18, 329.63))
    hiss = 0.01 * np.random.default_rng(0).standard_normal(len(time_s))
    return np.asarray(0.2 * beat * chord + hiss, np.float32)


def _agreement() -> Finding:
    """Have the libraries' own functions say what the compiled loops should have found."""
    samples = _pulsing_chord()
    try:
        fast, reference = (extract_features(samples, extractor) for extractor in ("fast", "reference"))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return Finding("fast features", False, f"{type(error).__name__}: {error}")
    off = [name for name, truth in reference.items() if not agrees(name, fast[name], truth)]
    if off:
        return Finding("fast features", False, f"differ in {', '.join(off)}. {_AGREEMENT_ADVICE}")
    return Finding("fast features", True, f"all {len(reference)} as the reference's, up to rounding")


def _model(clap_model: ClapModel) -> Iterator[Finding]:
    try:
        checkpoint = clap_model.checkpoint()
        concerns = clap_model.concerns()
    except ModelMissingError as error:
        yield Finding("CLAP model", None, str(error))  # a fresh installation is well without one
        return
    except ModelError as error:
        yield Finding("CLAP model", False, str(error))
        return
    yield Finding("CLAP model", True, f"{checkpoint.model_id}@{checkpoint.revision} in {checkpoint.path}")
    for concern in concerns:
        yield Finding("CLAP model", None, concern)
