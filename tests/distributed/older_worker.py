"""The application of a worker that was started before the extractor got its present version."""

import audio_assets.features

audio_assets.features.EXTRACTOR_VERSION = "older"

from audio_assets.distributed.worker import app  # noqa: E402

__all__ = ["app"]
