"""The versions that results are of, so that a run is executed by none that would make others.

A worker keeps the code that it was started with, and another machine may have another model or another kind
of processor. Rows carry their versions, so nothing would be mixed in a table; but each side would compute
again what the other has.
"""

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress

from audio_assets.builds import EMBEDDINGS, FEATURES
from audio_assets.definitions import MODEL_VARIABLE
from audio_assets.embeddings import DEFAULT_MODEL_ID, ModelError
from audio_assets.features import EXTRACTOR_VERSION
from resources.clap_model import clap_model_from_environment

#: On runs that a worker is to execute: the versions of who launched them, as JSON.
VERSIONS_TAG = "audio-assets/versions"

_ADVICE = (
    "Give daemon and workers the same release, model and AUDIO_ASSETS_CLAP_... variables, and start anew "
    "what is behind; where processors differ, name AUDIO_ASSETS_CLAP_PRECISION."
)


class WorkerVersionError(Exception):
    """A worker would make rows of other versions than who launched the run expects; it computed nothing."""


def current_versions() -> dict[str, str]:
    """Versions of the rows that this process would make, by table; of embeddings where it has the model."""
    versions = {FEATURES: EXTRACTOR_VERSION}
    model_id = os.environ.get(MODEL_VARIABLE, DEFAULT_MODEL_ID)
    with suppress(ModelError):
        versions[EMBEDDINGS] = clap_model_from_environment(model_id=model_id, offline=True).settings().version
    return versions


def versions_tag() -> dict[str, str]:
    """Tag for a run that is launched by this process."""
    return {VERSIONS_TAG: json.dumps(current_versions(), sort_keys=True)}


def refuse_other_versions(tags: Mapping[str, str], tables: Collection[str]) -> None:
    """Refuse a run that was launched by a process of other versions.

    Parameters
    ----------
    tags : mapping of str to str
        Tags of the run. Without those of `versions_tag` it is refused as well.
    tables : collection of str
        What the run computes; the versions of these have to be known.

    Raises
    ------
    WorkerVersionError
        Names both versions and what to do.
    """
    here = current_versions()
    wanted = json.loads(tags.get(VERSIONS_TAG, "{}"))
    unknown = [table for table in (FEATURES, EMBEDDINGS) if table in tables and table not in wanted]
    differing = [table for table in here if table in wanted and here[table] != wanted[table]]
    if unknown or FEATURES not in wanted:
        what = " and ".join(unknown) or "its rows"
        raise WorkerVersionError(f"who launched the run does not say the version of {what}. {_ADVICE}")
    if differing:
        pairs = (f"{table} of version {here[table]}, not {wanted[table]}" for table in differing)
        raise WorkerVersionError(f"this worker makes {'; '.join(pairs)}, as the run wants. {_ADVICE}")
