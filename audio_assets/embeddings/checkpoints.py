"""Finding a model's weights, and fetching them once.

A checkpoint is a local folder that holds ``config.json``, ``model.safetensors`` and the processor's
files. Pickles run code when they are read: none is ever loaded, except the one published form of the
default model, whose hash is known and checked before a byte of it is interpreted; it is converted once.

What belongs here: locating, downloading, converting, hashing. What does not: running a model
(``towers``, ``encoder``) or judging it (``health``).
"""

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

DEFAULT_MODEL_ID = "laion/larger_clap_music"
DEFAULT_REVISION = "a0b4534a14f58e20944452dff00a22a06ce629d1"

#: Key in a checkpoint's config.json that says: trained on the demo's synthesised music, and on nothing else.
DEMO_MARKER = "audio_assets_demo_checkpoint"

LOCAL_REVISION = "local"
WEIGHTS_NAME = "model.safetensors"
PICKLE_NAME = "pytorch_model.bin"

_KNOWN_PICKLES = {
    (DEFAULT_MODEL_ID, DEFAULT_REVISION): "5c289311f4a030d768af7ffbfdecd01b008aa64824211899a4e59f4f9d154fd1",
}
# One file of each group is enough: transformers 4 and 5 name the processor's files differently.
_REQUIRED = (
    ("config.json",),
    (WEIGHTS_NAME,),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json", "vocab.json"),
)
_CONFIG_NAMES = ("config.json", "preprocessor_config.json", "processor_config.json")
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_PROBE_TIMEOUT_S = 5.0


class ModelError(Exception):
    """The embedding model cannot be used; the message says what to do about it."""


class ModelMissingError(ModelError):
    """The weights are not on this machine and could not be fetched."""


class ModelUnusableError(ModelError):
    """The weights are there but damaged, incomplete, of the wrong kind or not safe to read."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's weights on this machine.

    Parameters
    ----------
    path : Path
        Folder with config, weights and processor files.
    model_id, revision : str
        Where they come from; the folder's path and ``local`` for a folder named by the user.
    weights_sha256 : str
        Hash of ``model.safetensors``: the identity that decides whether embeddings are comparable.
    """

    path: Path
    model_id: str
    revision: str
    weights_sha256: str

    @property
    def config_sha256(self) -> str:
        """Hash of the files that say how the weights and the audio front end are to be used."""
        digest = hashlib.sha256()
        for name in _CONFIG_NAMES:
            path = self.path / name
            digest.update(path.read_bytes() if path.exists() else b"")
            digest.update(b"\0")
        return digest.hexdigest()

    @property
    def weights_path(self) -> Path:
        """The safetensors file."""
        return self.path / WEIGHTS_NAME

    @property
    def is_demo(self) -> bool:
        """True for the demo model, which knows the music of the demo's synthesiser and no other."""
        config: dict[str, Any] = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        return bool(config.get(DEMO_MARKER, False))


def resolve_checkpoint(model_id: str, revision: str, cache_dir: Path, offline: bool) -> Checkpoint:
    """Find a model's weights, downloading them once where that is allowed.

    Parameters
    ----------
    model_id : str
        A local folder, used as it is, or ``organisation/name`` on the model hub.
    revision : str
        Commit of the hub's repository; ignored for a local folder.
    cache_dir : Path
        Where downloaded models are kept, one folder for each model and revision.
    offline : bool
        Never touch the network.

    Returns
    -------
    Checkpoint
        A complete local folder.

    Raises
    ------
    ModelMissingError
        Not here, and offline or not to be had.
    ModelUnusableError
        Incomplete, pickle only, or not what its known hash promises.
    """
    local = Path(model_id).expanduser()
    if local.is_dir():
        return _describe(local.resolve(), str(local.resolve()), LOCAL_REVISION)
    if not re.fullmatch(f"{_NAME}/{_NAME}", model_id) or not re.fullmatch(_NAME, revision):
        raise ModelMissingError(
            f"{model_id!r} is neither an existing folder nor a model name like 'laion/name'"
        )
    folder = cache_dir / f"{model_id.replace('/', '--')}@{revision}"
    if not folder.is_dir():
        if offline:
            raise ModelMissingError(_advice(model_id, revision, "is not on this machine, and offline is set"))
        _download_once(model_id, revision, folder)
    return _describe(folder, model_id, revision)


def convert_pickle(pickle_path: Path, expected_sha256: str) -> Path:
    """Turn a pickled state dict into ``model.safetensors`` beside it and delete the pickle.

    Parameters
    ----------
    pickle_path : Path
        What ``torch.save`` wrote.
    expected_sha256 : str
        The file is not read as a pickle unless this is its hash.

    Returns
    -------
    Path
        The safetensors file.

    Raises
    ------
    ModelUnusableError
        Another hash: nothing was read, nothing written.
    """
    found = file_sha256(pickle_path)
    if found != expected_sha256:
        raise ModelUnusableError(
            f"{pickle_path} has sha256 {found}, expected {expected_sha256}: refused. Delete it and "
            "fetch the model again."
        )
    import torch
    from safetensors.torch import save_file

    state = torch.load(pickle_path, map_location="cpu", weights_only=True)
    # Tied tensors share memory, which safetensors refuses to store twice.
    tensors = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    target = pickle_path.with_name(WEIGHTS_NAME)
    partial = target.with_name(f".{WEIGHTS_NAME}.partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(target)
    pickle_path.unlink()
    return target


def file_sha256(path: Path) -> str:
    """Hash of a file as hex; computed once a process while size and modification time stay the same."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=32)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(folder: Path, model_id: str, revision: str) -> Checkpoint:
    if not (folder / WEIGHTS_NAME).is_file() and (folder / PICKLE_NAME).is_file():
        raise ModelUnusableError(f"{folder} holds {PICKLE_NAME} only. {_PICKLE_ADVICE}")
    missing = [" or ".join(group) for group in _REQUIRED if not any((folder / n).is_file() for n in group)]
    if missing:
        raise ModelUnusableError(
            f"{folder} is no complete CLAP checkpoint: it has no {', no '.join(missing)}. Delete it and "
            f"run `audio-assets model fetch --model {model_id}`, or pass a complete folder with "
            "`--clap-model PATH`."
        )
    _refuse_damaged(folder / WEIGHTS_NAME)
    return Checkpoint(folder, model_id, revision, file_sha256(folder / WEIGHTS_NAME))


def _refuse_damaged(weights_path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights_path, framework="np"):  # checks the header against the file's length
            return
    except SafetensorError as error:
        raise ModelUnusableError(
            f"{weights_path} is damaged or cut short ({error}): copy it again."
        ) from error


_PICKLE_ADVICE = (
    "Reading a pickle runs code inside it, so it is refused. Convert it yourself to model.safetensors where "
    "you trust it, and pass that folder with `--clap-model PATH`."
)


def _advice(model_id: str, revision: str, what_happened: str) -> str:
    return (
        f"The CLAP model {model_id} (revision {revision}) {what_happened}. Run `audio-assets model fetch "
        f"--model {model_id}` on a machine with internet access and copy the folder it names, or pass a "
        "local folder with `--clap-model PATH`."
    )


def _download_once(model_id: str, revision: str, folder: Path) -> None:
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.is_dir():  # another process was faster
            return
        # Kept after a failure: the next attempt resumes it.
        partial = folder.parent / f".{folder.name}.partial"
        _download(model_id, revision, partial)
        _require_safetensors(model_id, revision, partial)
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # the downloader's own bookkeeping
        partial.replace(folder)


def _download(model_id: str, revision: str, target: Path) -> None:
    # transformers 5 would otherwise ask the hub for a bot's converted copy of the weights.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    patterns = ["*.json", "*.txt", WEIGHTS_NAME]
    if (model_id, revision) in _KNOWN_PICKLES:
        patterns.append(PICKLE_NAME)
    # The hub's errors inherit from its HTTP client's, which is not the same in every version.
    network_errors = cast("tuple[type[Exception], ...]", (OSError, *HfHubHTTPError.__bases__))
    try:
        # Asked first because it fails at once without a network, where the download retries for 23 s.
        HfApi().model_info(model_id, revision=revision, timeout=_PROBE_TIMEOUT_S)
        snapshot_download(model_id, revision=revision, local_dir=target, allow_patterns=patterns)
    except network_errors as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelMissingError(_advice(model_id, revision, f"could not be downloaded ({reason})")) from error


def _require_safetensors(model_id: str, revision: str, folder: Path) -> None:
    if (folder / WEIGHTS_NAME).is_file():
        (folder / PICKLE_NAME).unlink(missing_ok=True)
        return
    expected_sha256 = _KNOWN_PICKLES.get((model_id, revision))
    if expected_sha256 is None:
        raise ModelUnusableError(
            f"{model_id} (revision {revision}) is published as a pickle only. {_PICKLE_ADVICE}"
        )
    convert_pickle(folder / PICKLE_NAME, expected_sha256)
