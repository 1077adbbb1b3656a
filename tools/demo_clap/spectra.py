"""Log-mel spectrograms of whole tracks on disk, computed once and read by memory map.

A take is one track of every description, as two files: ``take-003.npy`` holds the frames of all its
tracks end to end in half precision (0.06 dB), ``take-003.ends.npy`` where each ends. Training cuts its
windows out of these, so that it hears every ten seconds of a track at no cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import ClapFeatureExtractor

from tools.demo_clap.music import SAMPLE_RATE_HZ, Description, play

#: Frames of a ten-second window, and what the model stretches them to before it looks at them.
WINDOW_FRAMES, MODEL_FRAMES = 1001, 1024


def new_extractor() -> ClapFeatureExtractor:
    """Make the front end, which is the real model's."""
    return ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation="rand_trunc")


@dataclass(frozen=True)
class Take:
    """Spectrograms of one track of each description.

    Parameters
    ----------
    frames : ndarray, shape (n_frames, 64), float16
        All tracks end to end, in dB.
    ends : ndarray, shape (n_tracks,), int64
        Frame behind the last one of each track.
    """

    frames: npt.NDArray[np.float16]
    ends: npt.NDArray[np.int64]

    def track(self, i: int) -> npt.NDArray[np.float16]:
        """Frames of track `i`, shape (n, 64)."""
        return self.frames[self.ends[i - 1] if i else 0 : self.ends[i]]


def render_take(folder: Path, name: str, descriptions: Sequence[Description], take: int) -> None:
    """Write a take, unless it is there already."""
    frames_path, ends_path = folder / f"{name}.npy", folder / f"{name}.ends.npy"
    if frames_path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    extractor = new_extractor()
    tracks = [_log_mel(extractor, play(description, take)) for description in descriptions]
    np.save(ends_path, np.cumsum([len(track) for track in tracks]))
    # Last and whole: its presence says that the take is complete.
    partial = frames_path.with_suffix(".partial.npy")
    np.save(partial, np.concatenate(tracks))
    partial.replace(frames_path)


def open_take(folder: Path, name: str) -> Take:
    """Map a take that `render_take` wrote."""
    frames = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return Take(frames, np.load(folder / f"{name}.ends.npy", allow_pickle=False))


def stretched(take: Take) -> Take:
    """Stretch every track as the model stretches a window; done once here, it costs no training step."""
    tracks = [_stretch(take.track(i)) for i in range(len(take.ends))]
    return Take(np.concatenate(tracks), np.cumsum([len(track) for track in tracks]))


def _stretch(frames: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    import torch

    n_frames = 1 + round((len(frames) - 1) * (MODEL_FRAMES - 1) / (WINDOW_FRAMES - 1))
    image = torch.from_numpy(frames.astype(np.float32))[None, None]
    size = (n_frames, frames.shape[1])
    longer = torch.nn.functional.interpolate(image, size, mode="bicubic", align_corners=True)
    halved: npt.NDArray[np.float16] = longer[0, 0].numpy().astype(np.float16)
    return halved


def _log_mel(extractor: ClapFeatureExtractor, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    heard = extractor(samples, sampling_rate=SAMPLE_RATE_HZ, padding="pad", max_length=len(samples))
    frames: npt.NDArray[np.float16] = np.asarray(heard["input_features"])[0, 0].astype(np.float16)
    return frames
