"""Which parts of a track the model hears.

The stock CLAP processor takes one *random* 10-second crop of anything longer, so the same file gives
another vector each run. Here the windows are a function of the track's length alone.

What belongs here: where windows lie and how a short track is filled up. What does not: what is
computed from them (``encoder``) and how they become one vector (``pooling``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_assets.failures import FailureCode, TrackFailure

SAMPLE_RATE_HZ = 48_000
WINDOW_SAMPLES = 480_000
EMBEDDING_DIM = 512

# A "30-second" mp3 decodes to 30.02 s or so: encoder padding must not buy a window of its own.
_SLACK_SAMPLES = SAMPLE_RATE_HZ // 2


@dataclass(frozen=True)
class Windowing:
    """How a track is cut; part of every embedding's version.

    Parameters
    ----------
    max_windows : int
        At most this many 10-second windows, spread evenly over the track.
    """

    max_windows: int = 6

    def __post_init__(self) -> None:
        if self.max_windows < 1:
            raise ValueError(f"max_windows must be at least 1, not {self.max_windows}")

    @property
    def version(self) -> str:
        """Name of this way of cutting; the last number grows when the code's result changes."""
        return f"spread-{self.max_windows}x10s-repeatpad-1"


def cut_windows(samples: npt.NDArray[np.float32], windowing: Windowing) -> npt.NDArray[np.float32]:
    """Cut evenly spread 10-second windows out of a track.

    With K = min(max_windows, number of begun 10-second stretches), window j is centred at (j + 1/2) / K
    of the track and moved inside it where it would stick out. Up to half a second left over does not
    count as begun. A track shorter than a window is repeated as often as it fits whole, then padded
    with zeros, as ``ClapFeatureExtractor`` does under ``repeatpad``.

    Parameters
    ----------
    samples : np.ndarray, shape (n,), float32
        Mono audio at 48 kHz.
    windowing : Windowing
        How many windows at most.

    Returns
    -------
    np.ndarray, shape (k, 480000), float32
        The windows, in the order of time.

    Raises
    ------
    TrackFailure
        TOO_SHORT when there is no sample at all.
    """
    n = len(samples)
    if n == 0:
        raise TrackFailure(FailureCode.TOO_SHORT, "no audio samples to embed")
    if n < WINDOW_SAMPLES:
        return _repeat_pad(samples)[np.newaxis]
    begun = max(1, -(-(n - _SLACK_SAMPLES) // WINDOW_SAMPLES))
    k = min(windowing.max_windows, begun)
    centres = (2 * np.arange(k) + 1) * n // (2 * k)
    starts = np.clip(centres - WINDOW_SAMPLES // 2, 0, n - WINDOW_SAMPLES)
    return np.stack([samples[start : start + WINDOW_SAMPLES] for start in starts])


def _repeat_pad(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    repeated = np.tile(samples, WINDOW_SAMPLES // len(samples))
    return np.pad(repeated, (0, WINDOW_SAMPLES - len(repeated)))
