"""The CLAP models this platform knows by name, each pinned to one commit.

What belongs here: names, commits and hashes that were published and can be looked up again; a hash that
nobody stated in public is None, never guessed. What does not: fetching (``hub``), judging (``health``).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedModel:
    """A model on the hub.

    Parameters
    ----------
    model_id : str
        Organisation and name.
    revision : str
        Commit that is taken unless another is asked for.
    pickle_sha256 : str or None
        Hash of the ``pytorch_model.bin`` of that commit, where it was published.
    """

    model_id: str
    revision: str
    pickle_sha256: str | None


PUBLISHED_MODELS = {
    model.model_id: model
    for model in (
        PublishedModel(
            "laion/larger_clap_music",
            "a0b4534a14f58e20944452dff00a22a06ce629d1",
            "5c289311f4a030d768af7ffbfdecd01b008aa64824211899a4e59f4f9d154fd1",
        ),
        PublishedModel(
            "laion/larger_clap_general",
            "ada0c23a36c4e8582805bb38fec3905903f18b41",
            "314eb00cce6ad68d25237b8446b659ccdb136ed4672c1bca470f142f72455026",
        ),
        PublishedModel(
            "laion/larger_clap_music_and_speech",
            "195c3a3e68faebb3e2088b9a79e79b43ddbda76b",
            "b73c5e596fda5b29b522a1ab3f0842977fe2b147bf8b78c2ec5f7ae6267038a1",
        ),
        PublishedModel("laion/clap-htsat-unfused", "8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a", None),
    )
}

DEFAULT_MODEL_ID = "laion/larger_clap_music"
DEFAULT_REVISION = PUBLISHED_MODELS[DEFAULT_MODEL_ID].revision


def pinned_revision(model_id: str) -> str | None:
    """Commit a model is pinned to; None for a model that is not in the table."""
    known = PUBLISHED_MODELS.get(model_id)
    return known.revision if known else None


def published_pickle_sha256(model_id: str, revision: str) -> str | None:
    """Hash of a model's pickle at a commit; None where none was published."""
    known = PUBLISHED_MODELS.get(model_id)
    return known.pickle_sha256 if known and known.revision == revision else None
