"""The audio half of the model as the platform uses it: spectrograms in, unit vectors out.

What belongs here: how the windows of many tracks share passes through the model, and what runs at the same
time. What does not: one pass (``towers``, ``openvino_tower``), the front end (``log_mel``, ``windows``).
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from audio_assets.cores import usable_cores
from audio_assets.embeddings.checkpoints import Checkpoint
from audio_assets.embeddings.errors import ModelUnusableError
from audio_assets.embeddings.log_mel import FRAMES, MEL_BANDS
from audio_assets.embeddings.openvino_tower import OpenVinoTower
from audio_assets.embeddings.settings import resolve_precision
from audio_assets.embeddings.towers import (
    AudioTower,
    memory_bytes,
    refuse_other_front_ends,
    use_one_thread,
)
from audio_assets.embeddings.windows import EMBEDDING_DIM

T = TypeVar("T")

#: Windows in one pass on a CPU, for every backend: one and eight cost 5 to 10 % more than four.
CPU_PASS_WINDOWS = 4
#: What a window is allowed on a GPU (50 MB were measured on a CPU), and the most windows in one pass there.
GPU_BYTES_A_WINDOW = 128 * 2**20
GPU_MOST_WINDOWS = 64
#: Beyond these little is to be gained, though none were measured: each pass holds Python's lock for a part.
MOST_LANES = 10
# Passes a lane, the running one included: none idles while the next track is being decoded.
_PASSES_AHEAD = 2


@dataclass(frozen=True)
class TrackVectors:
    """What the model made of one track.

    Parameters
    ----------
    vectors : np.ndarray, shape (k, 512), float32
        A unit vector for each window.
    elapsed_s : float
        Time that the model spent on them, its passes being shared among their windows.
    """

    vectors: npt.NDArray[np.float32]
    elapsed_s: float


class ClapEncoder:
    """The loaded audio tower of a CLAP model.

    Every pass through the model has the same number of windows, the last one being filled up, because another
    number may be rounded differently. So a vector depends neither on the tracks it shared a pass with nor
    on how many there are. torch on a CPU has a lane a core (at most ten), each with one thread and
    one pass at a time; everything else has one lane.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.
    device : str
        ``auto`` (cuda, else mps, else cpu) or a torch device; the openvino backend always uses the CPU.
    precision : str
        ``auto``, ``float32`` or ``bfloat16`` for the audio tower.
    backend : str
        ``torch`` or ``openvino``.
    batch_size : int
        Windows in one pass on a GPU; 0 for what its memory allows. On a CPU it is fixed.
    cache_dir : Path
        Where the openvino backend keeps the networks it exports.

    Raises
    ------
    ModelUnusableError
        The checkpoint is damaged or of another kind, or the backend is not installed.
    ValueError
        Another backend or precision.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "torch",
        batch_size: int = 0,
        cache_dir: Path = Path("~/.cache/audio-assets/models"),
    ) -> None:
        refuse_other_front_ends(checkpoint)
        self.checkpoint = checkpoint
        self.precision = resolve_precision(precision, device, backend)
        self.backend = backend
        self.device = resolve_device(device) if backend == "torch" else "cpu"
        on_cpu = self.device == "cpu"
        self.batch_size = CPU_PASS_WINDOWS if on_cpu else batch_size or _gpu_batch_size(self.device)
        lane_a_core = on_cpu and backend == "torch"
        self.lanes = min(usable_cores(), MOST_LANES) if lane_a_core else 1
        self._tower = self._load_tower(cache_dir.expanduser() / "openvino")
        one_thread = use_one_thread if lane_a_core else None
        self._lanes = ThreadPoolExecutor(self.lanes, "clap", initializer=one_thread)

    def embed_tracks(
        self, tracks: Iterable[tuple[T, npt.NDArray[np.float32]]]
    ) -> Iterator[tuple[T, TrackVectors]]:
        """Embed tracks as they come, while the next ones are being drawn.

        Parameters
        ----------
        tracks : iterable of (T, np.ndarray)
            Anything, and its log-mel spectrograms, shape (k, 1001, 64), float32; k may be 0.

        Yields
        ------
        T
            As drawn, in the same order.
        TrackVectors
            A unit vector for each spectrogram.

        Raises
        ------
        ValueError
            Spectrograms of another shape.
        """
        batching = _Batching[T](self)
        try:
            for key, log_mel in tracks:
                batching.add(key, log_mel)
                yield from batching.finished(may_wait=_PASSES_AHEAD * self.lanes)
            batching.flush()
            yield from batching.finished(may_wait=0)
        finally:
            batching.cancel()

    def embed_log_mel(self, log_mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed spectrograms, shape (k, 1001, 64), as unit vectors, shape (k, 512)."""
        ((_, track),) = self.embed_tracks([(None, log_mel)])
        return track.vectors

    def start_pass(self, log_mels: list[npt.NDArray[np.float32]]) -> "Future[TrackVectors]":
        """Queue at most `batch_size` spectrograms, shape (1001, 64), for one pass through the model."""
        return self._lanes.submit(self._run_pass, log_mels)

    def _run_pass(self, log_mels: list[npt.NDArray[np.float32]]) -> TrackVectors:
        started = time.monotonic()
        batch = np.zeros((self.batch_size, FRAMES, MEL_BANDS), dtype=np.float32)
        batch[: len(log_mels)] = log_mels
        vectors = self._tower.embed(batch)[: len(log_mels)]
        return TrackVectors(vectors, time.monotonic() - started)

    def _load_tower(self, cache_dir: Path) -> AudioTower | OpenVinoTower:
        if self.backend == "torch":
            return AudioTower(self.checkpoint, self.device, self.precision)
        return OpenVinoTower(
            self.checkpoint,
            precision=self.precision,
            batch_size=self.batch_size,
            threads=usable_cores(),
            cache_dir=cache_dir,
        )


def resolve_device(device: str) -> str:
    """Turn ``auto`` into the fastest device of this machine.

    Raises
    ------
    ModelUnusableError
        The device that was asked for is not there.
    """
    if device == "cpu":
        return device
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device != "auto":
        if not found.get(device.partition(":")[0]):
            raise ModelUnusableError(
                f"torch finds no device {device!r} on this machine; auto takes what there is"
            )
        return device
    if found["cuda"]:
        return "cuda"
    return "mps" if found["mps"] else "cpu"


@dataclass
class _Track(Generic[T]):
    """A track on its way: for each window that is in a pass, that pass and the row in it."""

    key: T
    n_windows: int
    rows: "list[tuple[Future[TrackVectors], int]]" = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return len(self.rows) == self.n_windows and all(future.done() for future, _ in self.rows)

    def result(self) -> TrackVectors:
        passes = [(future.result(), row) for future, row in self.rows]
        elapsed_s = sum(of_pass.elapsed_s / len(of_pass.vectors) for of_pass, _ in passes)
        return TrackVectors(_stack([of_pass.vectors[row : row + 1] for of_pass, row in passes]), elapsed_s)


class _Batching(Generic[T]):
    """Windows that wait for a pass to fill, passes that run, tracks that wait for theirs."""

    def __init__(self, encoder: ClapEncoder) -> None:
        self._encoder = encoder
        self._waiting: list[tuple[_Track[T], npt.NDArray[np.float32]]] = []
        self._running: deque[Future[TrackVectors]] = deque()
        self._tracks: deque[_Track[T]] = deque()

    def add(self, key: T, log_mel: npt.NDArray[np.float32]) -> None:
        if log_mel.ndim != 3 or log_mel.shape[1:] != (FRAMES, MEL_BANDS):
            raise ValueError(f"spectrograms must have shape (k, {FRAMES}, {MEL_BANDS}), not {log_mel.shape}")
        track = _Track(key, len(log_mel))
        self._tracks.append(track)
        self._waiting += [(track, window) for window in log_mel]
        while len(self._waiting) >= self._encoder.batch_size:
            self.flush()

    def flush(self) -> None:
        """Start a pass with what waits, be it less than a full one."""
        batch = self._waiting[: self._encoder.batch_size]
        self._waiting = self._waiting[self._encoder.batch_size :]
        if not batch:
            return
        future = self._encoder.start_pass([window for _, window in batch])
        self._running.append(future)
        for row, (track, _) in enumerate(batch):
            track.rows.append((future, row))

    def finished(self, may_wait: int) -> Iterator[tuple[T, TrackVectors]]:
        """Give the tracks that are done, once no more than so many passes are queued or running."""
        while len(self._running) > may_wait:
            self._running.popleft().result()
        while self._tracks and self._tracks[0].is_done:
            track = self._tracks.popleft()
            yield track.key, track.result()

    def cancel(self) -> None:
        for future in self._running:
            future.cancel()


def _gpu_batch_size(device: str) -> int:
    # Half of the memory, as others may use it too.
    return max(1, min(GPU_MOST_WINDOWS, memory_bytes(device) // 2 // GPU_BYTES_A_WINDOW))


def _stack(blocks: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return np.concatenate(blocks) if blocks else np.empty((0, EMBEDDING_DIM), dtype=np.float32)
