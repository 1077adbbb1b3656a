"""The music: where it is, what names it, and what is refused unread."""

import os
import time
from pathlib import Path

import dagster as dg
from pydantic import Field

from audio_assets.audio import AudioLimits
from audio_assets.environment import read_number
from audio_assets.library import BATCH_SIZE, Listing, ManifestError, list_library


class TrackLibrary(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A folder of tracks, with or without a manifest that names them."""

    root: str = Field(description="Library root. Nothing outside this folder is ever opened.")
    manifest: str | None = Field(
        default=None,
        description="CSV with song_id and audio_path, or a TOML recipe. Without one the folder is scanned.",
    )
    batch_size: int = Field(default=BATCH_SIZE, ge=1, description="Most tracks in a new partition.")
    min_duration_s: float = Field(default=AudioLimits.min_duration_s, description="Shorter tracks fail [s].")
    max_duration_s: float = Field(default=AudioLimits.max_duration_s, description="Longer tracks fail [s].")

    @property
    def root_path(self) -> Path:
        """Library root."""
        return Path(self.root).expanduser()

    @property
    def manifest_path(self) -> Path | None:
        """Manifest or recipe, if there is one."""
        return Path(self.manifest).expanduser() if self.manifest else None

    @property
    def limits(self) -> AudioLimits:
        """What is refused unread."""
        return AudioLimits(min_duration_s=self.min_duration_s, max_duration_s=self.max_duration_s)

    def listing(self, settle_s: float) -> Listing:
        """Look at the names, sizes and times of all files; those changed less than this ago settle still.

        Raises
        ------
        ManifestError
            The library cannot be listed.
        """
        try:
            return list_library(self.root_path, self.manifest_path, settle_s, time.time())
        except OSError as error:
            raise ManifestError(f"a folder of the library cannot be listed: {error}") from error


def library_from_environment(root: Path, manifest: Path | None) -> TrackLibrary:
    """Open a library with what the environment says about it.

    Raises
    ------
    SettingError
        It says something that cannot be.
    """
    batch_size = read_number(os.environ, "BATCH_TRACKS", BATCH_SIZE, 1)
    return TrackLibrary(
        root=str(root), manifest=str(manifest) if manifest else None, batch_size=int(batch_size)
    )
