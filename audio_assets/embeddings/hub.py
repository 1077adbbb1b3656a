"""The model hub: its cache on this machine, and the one download.

What belongs here: everything that knows huggingface_hub, its cache layout and its errors. What does not:
what is done with the files (``checkpoints``) and reading pickles (``conversion``).
"""

import re
from pathlib import Path
from typing import cast

from audio_assets.embeddings.errors import ModelMissingError
from audio_assets.embeddings.files import PICKLE_NAME, WEIGHTS_NAME, missing_files

_PROBE_TIMEOUT_S = 5.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


def cached_snapshot(model_id: str, revision: str) -> Path | None:
    """Folder of a commit in the hub's own cache; None where it is not there or not complete.

    Parameters
    ----------
    model_id, revision : str
        Name and commit.

    Returns
    -------
    Path or None
        Holds config, processor, tokenizer and weights, as safetensors or as a pickle. ``HF_HOME`` and
        ``HF_HUB_CACHE`` say where the cache is.
    """
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(model_id, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    complete = not missing_files(folder) or not missing_files(folder, PICKLE_NAME)
    return folder if complete else None


def cached_sha256(path: Path) -> str | None:
    """Hash that the hub stated for a file of its cache; None where it stated none.

    The cache keeps a large file under its hash and links to it from the snapshot.
    """
    name = path.resolve().name
    return name if _SHA256.fullmatch(name) else None


def download(model_id: str, revision: str, target: Path) -> dict[str, str]:
    """Fetch a model's files into a folder; what an interrupted download left there is gone on with.

    Parameters
    ----------
    model_id, revision : str
        Name and commit.
    target : Path
        Where to.

    Returns
    -------
    dict of str to str
        The hashes that the hub states for its large files, by name.

    Raises
    ------
    ModelMissingError
        No network, no such model, no such commit.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    # The hub's errors inherit from its HTTP client's, which is not the same in every version.
    network_errors = cast("tuple[type[Exception], ...]", (OSError, *HfHubHTTPError.__bases__))
    try:
        # Asked first because it fails at once without a network, where the download retries for 23 s.
        info = HfApi().model_info(model_id, revision=revision, timeout=_PROBE_TIMEOUT_S, files_metadata=True)
        files = info.siblings or []
        weights = WEIGHTS_NAME if any(file.rfilename == WEIGHTS_NAME for file in files) else PICKLE_NAME
        patterns = ["*.json", "*.txt", weights]
        snapshot_download(model_id, revision=revision, local_dir=target, allow_patterns=patterns)
    except network_errors as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelMissingError(advice(model_id, revision, f"could not be downloaded ({reason})")) from error
    return {file.rfilename: file.lfs.sha256 for file in files if file.lfs}


def advice(model_id: str, revision: str, what_happened: str) -> str:
    """Say how a missing model gets onto this machine."""
    return (
        f"The CLAP model {model_id} (revision {revision}) {what_happened}. Run `audio-assets model pull "
        f"{model_id}` on a machine with internet access and copy the folder it names, or pass a "
        "local folder with `--clap-model PATH`."
    )
