"""Finding a model's weights, and fetching them once.

A checkpoint is a local folder that holds ``config.json``, ``model.safetensors`` and the processor's
files. Pickles run code when they are read: none is ever read here. The published models come as pickles
only; each is verified by its hash and converted once, in a process of its own (``conversion``).

What belongs here: locating, adopting, identifying. What does not: the hub (``hub``), running a model
(``towers``, ``encoder``) or judging it (``health``).
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_assets.embeddings.conversion import convert_pickle
from audio_assets.embeddings.errors import ModelMissingError, ModelUnusableError, reading
from audio_assets.embeddings.files import (
    CONFIG_NAMES,
    PICKLE_NAME,
    WEIGHTS_NAME,
    file_sha256,
    missing_files,
    refuse_damaged,
)
from audio_assets.embeddings.hub import advice, cached_sha256, cached_snapshot, download
from audio_assets.embeddings.published import PUBLISHED_MODELS, pinned_revision, published_pickle_sha256

#: Key in a checkpoint's config.json that says: trained on the demo's synthesised music, and on nothing else.
DEMO_MARKER = "audio_assets_demo_checkpoint"

LOCAL_REVISION = "local"
PROVENANCE_NAME = "provenance.json"

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_COMMIT = r"[0-9a-f]{40}"

_PICKLE_ADVICE = (
    "Reading a pickle runs code inside it, so it is refused. Convert it yourself to model.safetensors where "
    "you trust it, and pass that folder with `--clap-model PATH`."
)


@dataclass(frozen=True)
class Checkpoint:
    """A model's weights on this machine.

    Parameters
    ----------
    path : Path
        Folder with config, weights and processor files.
    model_id, revision : str
        Where they come from; the folder's path and ``local`` for a folder named by the user.
    weights_sha256, config_sha256 : str
        Hash of ``model.safetensors``, and of the files that say how the weights and the audio front end are
        to be used: the identity that decides whether embeddings are comparable.
    """

    path: Path
    model_id: str
    revision: str
    weights_sha256: str
    config_sha256: str

    @property
    def weights_path(self) -> Path:
        """The safetensors file."""
        return self.path / WEIGHTS_NAME

    @property
    def config_path(self) -> Path:
        """Architecture and sizes."""
        return self.path / "config.json"

    @property
    def processor_path(self) -> Path:
        """Configuration of the audio front end: the file that transformers would take."""
        nested = self.path / "processor_config.json"
        return nested if nested.is_file() else self.path / "preprocessor_config.json"

    @property
    def tokenizer_path(self) -> Path:
        """Vocabulary of the text tower."""
        whole = self.path / "tokenizer.json"
        return whole if whole.is_file() else self.path / "vocab.json"

    @property
    def is_demo(self) -> bool:
        """True for the demo model, which knows the music of the demo's synthesiser and no other."""
        with reading(self.config_path):
            config: dict[str, Any] = json.loads(self.config_path.read_text(encoding="utf-8"))
            return bool(config.get(DEMO_MARKER, False))

    @property
    def verified_by(self) -> str:
        """What the weights were verified against when they were fetched, in words."""
        provenance = _provenance(self.path)
        if provenance:
            return provenance["verified_by"]
        stated = cached_sha256(self.weights_path) == self.weights_sha256
        return "the hash in the hub's cache" if stated else "nothing: a folder is taken as it is"


def resolve_checkpoint(model_id: str, revision: str, cache_dir: Path, offline: bool) -> Checkpoint:
    """Find a model's weights, downloading them once where that is allowed.

    Parameters
    ----------
    model_id : str
        A local folder, used as it is, or ``organisation/name`` on the model hub. The latter is looked for
        in `cache_dir`, then in the hub's own cache, and then downloaded.
    revision : str
        Commit of the hub's repository; empty for the pinned one of a known model. Ignored for a folder.
    cache_dir : Path
        Where downloaded and converted models are kept, one folder for each model and revision.
    offline : bool
        Never touch the network.

    Returns
    -------
    Checkpoint
        A complete local folder.

    Raises
    ------
    ModelMissingError
        Not here, and offline or not to be had; or a name without a pinned commit.
    ModelUnusableError
        Incomplete, a pickle of unknown hash, or not what its hash promises.
    """
    local = Path(model_id).expanduser()
    if local.is_dir():
        return _describe(local.resolve(), str(local.resolve()), LOCAL_REVISION)
    if not re.fullmatch(f"{_NAME}/{_NAME}", model_id):
        raise ModelMissingError(
            f"{model_id!r} is neither an existing folder nor a model name like 'laion/name'"
        )
    commit = _commit(model_id, revision)
    folder = cache_dir / f"{model_id.replace('/', '--')}@{commit}"
    if folder.is_dir():
        return _describe(folder, model_id, commit)
    snapshot = cached_snapshot(model_id, commit)
    if snapshot and (snapshot / WEIGHTS_NAME).is_file():
        return _describe(snapshot, model_id, commit)
    if snapshot is None and offline:
        raise ModelMissingError(advice(model_id, commit, "is not on this machine"))
    _make_once(folder, lambda partial: _fill(partial, snapshot, model_id, commit))
    return _describe(folder, model_id, commit)


def _commit(model_id: str, revision: str) -> str:
    """Commit that is meant. A branch would be another model tomorrow."""
    commit = revision or pinned_revision(model_id)
    if commit is None:
        raise ModelMissingError(
            f"There is no folder {model_id}, and no revision is pinned here for a model of that name on the "
            f"hub (known are {', '.join(PUBLISHED_MODELS)}). For one from the hub, run "
            f"`audio-assets model pull {model_id} --revision COMMIT` and pass the folder it names with "
            "`--clap-model PATH`."
        )
    if not re.fullmatch(_COMMIT, commit):
        raise ModelMissingError(f"revision {commit!r} is not a commit of 40 hexadecimal digits")
    return commit


def _describe(folder: Path, model_id: str, revision: str) -> Checkpoint:
    if not (folder / WEIGHTS_NAME).is_file() and (folder / PICKLE_NAME).is_file():
        raise ModelUnusableError(f"{folder} holds {PICKLE_NAME} only. {_PICKLE_ADVICE}")
    if missing := missing_files(folder):
        raise ModelUnusableError(
            f"{folder} is no complete CLAP checkpoint: it has no {', no '.join(missing)}. Delete it and "
            f"run `audio-assets model pull {model_id}`, or pass a complete folder with "
            "`--clap-model PATH`."
        )
    weights = folder / WEIGHTS_NAME
    refuse_damaged(weights)
    found = file_sha256(weights)
    provenance = _provenance(folder)
    expected = provenance["weights_sha256"] if provenance else cached_sha256(weights)
    if expected not in (None, found):
        raise ModelUnusableError(
            f"{weights} has sha256 {found}, and had {expected} when it was fetched: it was damaged or "
            "changed. Delete its folder and pull the model again."
        )
    return Checkpoint(folder, model_id, revision, found, _config_sha256(folder))


def _config_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in CONFIG_NAMES:
        path = folder / name
        digest.update(path.read_bytes() if path.exists() else b"")
        digest.update(b"\0")
    return digest.hexdigest()


def _provenance(folder: Path) -> dict[str, str] | None:
    path = folder / PROVENANCE_NAME
    if not path.is_file():
        return None
    with reading(path):
        provenance: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        if not {"weights_sha256", "verified_by"} <= provenance.keys():
            raise ValueError("it lacks the hash of the weights")
    return provenance


def _make_once(folder: Path, fill: Callable[[Path], None]) -> None:
    """Have a folder made by one process, and appear whole."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.is_dir():  # another process was faster
            return
        # Kept after a failure: the next attempt resumes a download.
        partial = folder.parent / f".{folder.name}.partial"
        partial.mkdir(exist_ok=True)
        fill(partial)
        partial.replace(folder)


def _fill(partial: Path, snapshot: Path | None, model_id: str, commit: str) -> None:
    """Make a checkpoint of what the hub's cache holds as a pickle, or of a download."""
    if snapshot is None:
        stated = download(model_id, commit, partial)
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # the downloader's own bookkeeping
    else:
        _copy_small_files(snapshot, partial)
        blob_sha256 = cached_sha256(snapshot / PICKLE_NAME)
        stated = {PICKLE_NAME: blob_sha256} if blob_sha256 else {}
    verified_by = _verified_weights(snapshot or partial, partial, stated, model_id, commit)
    (partial / PICKLE_NAME).unlink(missing_ok=True)
    provenance = {
        "model_id": model_id,
        "revision": commit,
        "weights_sha256": file_sha256(partial / WEIGHTS_NAME),
        "verified_by": verified_by,
    }
    (partial / PROVENANCE_NAME).write_text(json.dumps(provenance, indent=1), encoding="utf-8")


def _copy_small_files(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.suffix in (".json", ".txt"):
            shutil.copyfile(path, target / path.name)


def _verified_weights(source: Path, target: Path, stated: dict[str, str], model_id: str, commit: str) -> str:
    """Put verified safetensors into the target; say what they were verified against."""
    # Not by what lies there: weights of an interrupted conversion may be left in the target.
    if expected := stated.get(WEIGHTS_NAME):
        if expected != file_sha256(source / WEIGHTS_NAME):
            raise ModelUnusableError(f"{source / WEIGHTS_NAME} is not what the hub states: pull it again")
        return f"the hub's hash of {WEIGHTS_NAME}, {expected}"
    published = published_pickle_sha256(model_id, commit)
    expected = published or stated.get(PICKLE_NAME)
    if expected is None:
        raise ModelUnusableError(f"{model_id} ({commit}) is a pickle of unknown hash. {_PICKLE_ADVICE}")
    convert_pickle(source / PICKLE_NAME, expected, target / WEIGHTS_NAME)
    witness = "our table's" if published else "the hub's"
    return f"{witness} hash of {PICKLE_NAME}, {expected}; converted from it"
