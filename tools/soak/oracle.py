"""What the tables must hold for some bytes: the domain code, called directly.

No daemon, pool, record or database has a part in it. Each file is judged once.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_assets.audio import AudioLimits, decode_mono
from audio_assets.embeddings import SAMPLE_RATE_HZ as CLAP_RATE_HZ
from audio_assets.embeddings import cut_windows, pool_windows, to_log_mel
from audio_assets.failures import TrackFailure
from audio_assets.features import SAMPLE_RATE_HZ as FEATURE_RATE_HZ
from audio_assets.features import extract_features
from audio_assets.library import Measurement, Sighting, measure
from resources.clap_model import ClapModel

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Verdict:
    """What is to be known of a file by its bytes alone.

    Parameters
    ----------
    measured : dict
        Columns of the manifest that are of the file.
    rejected : str or None
        Failure code of the manifest; there is nothing else then.
    features : dict or str
        The 56 columns, or the failure code.
    embedding : ndarray of float32, shape (512,), or str
        The raw vector, or the failure code.
    """

    measured: dict[str, object]
    rejected: str | None
    features: "dict[str, float | None] | str"
    embedding: "Vector | str"

    @property
    def failures(self) -> dict[str, str]:
        """Failure code by stage."""
        if self.rejected:
            return {"manifest": self.rejected}
        results = {"features": self.features, "embedding": self.embedding}
        return {stage: result for stage, result in results.items() if isinstance(result, str)}


class Oracle:
    """Judges files.

    Parameters
    ----------
    model : ClapModel
        The model that the site uses.
    scratch : Path
        Folder for one file at a time.
    """

    def __init__(self, model: ClapModel, scratch: Path) -> None:
        self._model = model
        self._scratch = scratch
        self._limits = AudioLimits()
        self._known: dict[str, Verdict] = {}

    def verdict(self, content: bytes) -> Verdict:
        """Judge a file by its bytes; formats are told by them, never by the name."""
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 not in self._known:
            path = self._scratch / "judged.bin"
            path.write_bytes(content)
            self._known[sha256] = self._judge(path)
        return self._known[sha256]

    def _judge(self, path: Path) -> Verdict:
        found = measure(path.parent, self._limits, Sighting("", path.name))
        rejected = str(found.rejection.code) if found.rejection else None
        if rejected:
            return Verdict(_measured(found), rejected, rejected, rejected)
        return Verdict(_measured(found), None, self._features(path), self._embedding(path))

    def _features(self, path: Path) -> "dict[str, float | None] | str":
        try:
            return dict(extract_features(decode_mono(path, FEATURE_RATE_HZ, self._limits).samples))
        except TrackFailure as failure:
            return str(failure.code)

    def _embedding(self, path: Path) -> "Vector | str":
        try:
            samples = decode_mono(path, CLAP_RATE_HZ, self._limits).samples
            log_mel = to_log_mel(cut_windows(samples, self._model.settings().windowing))
            return pool_windows(self._model.encoder().embed_log_mel(log_mel))
        except TrackFailure as failure:
            return str(failure.code)


def _measured(found: Measurement) -> dict[str, object]:
    return {
        "duration_s": found.duration_s,
        "sample_rate_hz": found.sample_rate_hz,
        "channels": found.channels,
        "codec": found.codec,
        "size_bytes": found.stat.size_bytes,
        "content_sha256": found.content_sha256,
    }
