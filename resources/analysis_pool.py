"""The worker processes that touch audio files, since what decodes or analyses them may crash or hang."""

import dagster as dg
from pydantic import Field

from audio_assets.audio import IsolatedPool
from audio_assets.cores import usable_cores
from audio_assets.features import PRELOAD


class AnalysisPool(dg.ConfigurableResource):  # type: ignore[type-arg]
    """How many tracks are worked on at once, and what one may take at most."""

    workers: int = Field(
        default=0, ge=0, description="Worker processes, each with one thread; 0 for one a core."
    )
    track_timeout_s: float = Field(
        default=600.0, gt=0, description="A track that takes longer fails as timed_out [s]."
    )
    track_memory_mb: int = Field(
        default=3000,
        ge=1000,
        description="A worker that needs more fails its track as out_of_memory [10^6 bytes]. Linux only.",
    )

    def open(self) -> IsolatedPool:
        """Start the workers; to be used as a context manager."""
        workers = self.workers or usable_cores()
        return IsolatedPool(
            workers=workers,
            timeout_s=self.track_timeout_s,
            preload=PRELOAD,
            memory_limit_mb=self.track_memory_mb,
        )
