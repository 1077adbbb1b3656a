"""A music library as trustworthy, queryable data: Dagster assets over plain numpy code.

`open_warehouse` is what a notebook needs; the rest is for the pipeline.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audio_assets.client import NotPublishedError, PublishedWarehouse, open_warehouse
    from audio_assets.search import SearchRefusedError

__all__ = ["NotPublishedError", "PublishedWarehouse", "SearchRefusedError", "open_warehouse"]


def __getattr__(name: str) -> Any:
    """Import the client once it is asked for: every module of the package comes through here."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from audio_assets import client

    return getattr(client, name)
