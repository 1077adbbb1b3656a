"""Turning a published pickle into safetensors, once, without ever reading it in this process.

What belongs here: verifying the file, the process that reads it, putting the result in place. What does
not: which hash is to be believed (``published``, ``hub``) and what happens in that process
(``_convert_child``).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from audio_assets.embeddings.errors import ModelUnusableError
from audio_assets.embeddings.files import PICKLE_NAME, file_sha256

_CHILD = Path(__file__).with_name("_convert_child.py")
# The tensors, their copies, the bytes to be written, and what importing torch takes.
_MEMORY_FACTOR = 4
_MEMORY_BASE_BYTES = 2 * 2**30
_TIMEOUT_S = 900


def convert_pickle(pickle_path: Path, expected_sha256: str, target: Path) -> None:
    """Write the tensors of a pickled state dict as safetensors.

    Parameters
    ----------
    pickle_path : Path
        What ``torch.save`` wrote.
    expected_sha256 : str
        The file is not opened as a pickle unless this is its hash.
    target : Path
        The safetensors file to make; appears whole or not at all.

    Raises
    ------
    ModelUnusableError
        Another hash, more than tensors in it, or too little memory: nothing was written.
    """
    found = file_sha256(pickle_path)
    if found != expected_sha256:
        raise ModelUnusableError(
            f"{pickle_path} has sha256 {found}, expected {expected_sha256}: refused. Delete it and "
            "pull the model again."
        )
    partial = target.with_name(f".{target.name}.partial")
    try:
        _run_child(pickle_path, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _run_child(source: Path, target: Path) -> None:
    memory_bytes = _MEMORY_FACTOR * source.stat().st_size + _MEMORY_BASE_BYTES
    # -I: neither the user's folder nor their PYTHONPATH decides what is imported there.
    command = [sys.executable, "-I", str(_CHILD), str(source), str(target), str(memory_bytes)]
    # Each thread of a numerics library would count against the memory limit.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ModelUnusableError(f"{source} was not converted within {_TIMEOUT_S} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        # An error's text may go on for lines after the one that names it.
        naming = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)] or lines
        raise ModelUnusableError(
            f"{source} ({PICKLE_NAME}) was not converted, as the process that read it ended with "
            f"{naming[-1]!r}. If that is no lack of memory, it is not a pickle of tensors alone."
        )
