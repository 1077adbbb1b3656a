"""Files to mono samples with typed failures, and processes that may die doing it.

What belongs here: headers, decoding, mixing down, resampling, the isolated worker pool. What does not: which
files exist (the library package) and what is computed from samples (features, embeddings).
"""

from audio_assets.audio.decode import DecodedAudio, decode_mono
from audio_assets.audio.duration import playing_time_s
from audio_assets.audio.header import DEFAULT_LIMITS, AudioHeader, AudioLimits, Decoder, probe
from audio_assets.audio.pool import IsolatedPool

__all__ = [
    "DEFAULT_LIMITS",
    "AudioHeader",
    "AudioLimits",
    "DecodedAudio",
    "Decoder",
    "IsolatedPool",
    "decode_mono",
    "playing_time_s",
    "probe",
]
