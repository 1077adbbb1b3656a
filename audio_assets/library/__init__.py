"""Tracks on disk: which files belong to the library, what they are, and which batch each one is in.

What belongs here: walking folders, reading manifests and tags, confinement to the library root,
content hashes, the ledger of batches. What does not: decoding (``audio``), storage (``warehouse``).
"""

from audio_assets.library.discovery import AUDIO_SUFFIXES, discover
from audio_assets.library.ledger import (
    BATCH_SIZE,
    Entry,
    LibraryVanishedError,
    Seen,
    entries_by_path,
    update_ledger,
)
from audio_assets.library.manifest import ManifestError, Source, read_source
from audio_assets.library.paths import locate
from audio_assets.library.survey import TAG_NAMES, Measurement, Sighting, StatKey, measure, stat_key
from audio_assets.library.watch import Listing, list_library

__all__ = [
    "AUDIO_SUFFIXES",
    "BATCH_SIZE",
    "TAG_NAMES",
    "Entry",
    "LibraryVanishedError",
    "Listing",
    "ManifestError",
    "Measurement",
    "Seen",
    "Sighting",
    "Source",
    "StatKey",
    "discover",
    "entries_by_path",
    "list_library",
    "locate",
    "measure",
    "read_source",
    "stat_key",
    "update_ledger",
]
