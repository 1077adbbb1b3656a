"""The vocabulary of everything that can go wrong with one track.

A track that cannot be analysed is a fact worth storing, not an exception that ends a batch and not a
row of zeros. Code that meets such a track raises `TrackFailure` with one of the codes below; the
batch loop records it in ``track_failures`` and goes on with the next track.

What belongs here: codes that a user can group by in SQL. What does not: errors of configuration or
of the platform itself; those have their own exception types beside the code that raises them.
"""

from enum import StrEnum


class FailureCode(StrEnum):
    """Why a track has no row in a table; the value is what ``track_failures.code`` holds."""

    MISSING = "missing"
    OUTSIDE_ROOT = "outside_root"
    NOT_A_FILE = "not_a_file"
    UNSUPPORTED_PATH = "unsupported_path"
    UNREADABLE = "unreadable"
    EMPTY_FILE = "empty_file"
    UNDECODABLE = "undecodable"
    TRUNCATED = "truncated"
    SILENT = "silent"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    ABSURD_SAMPLE_RATE = "absurd_sample_rate"
    ABSURD_CHANNELS = "absurd_channels"
    ABSURD_AMPLITUDE = "absurd_amplitude"
    NON_FINITE_AUDIO = "non_finite_audio"
    CHANGED_WHILE_READING = "changed_while_reading"
    TIMED_OUT = "timed_out"
    WORKER_DIED = "worker_died"
    OUT_OF_MEMORY = "out_of_memory"
    ANALYSIS_FAILED = "analysis_failed"
    NON_FINITE_RESULT = "non_finite_result"
    IMPOSSIBLE_RESULT = "impossible_result"
    ZERO_NORM = "zero_norm"


#: Codes that may say something about the moment, the place, the configured limits or our own code rather than
#: about the bytes: worth another try even though the content hash has not changed. A live track that is
#: missing when it is to be analysed has just been moved, say, and is the same track at its new path.
RETRYABLE = frozenset(
    {
        FailureCode.MISSING,
        FailureCode.OUTSIDE_ROOT,
        FailureCode.NOT_A_FILE,
        FailureCode.UNREADABLE,
        FailureCode.CHANGED_WHILE_READING,
        FailureCode.TIMED_OUT,
        FailureCode.WORKER_DIED,
        FailureCode.OUT_OF_MEMORY,
        FailureCode.ANALYSIS_FAILED,
        FailureCode.TOO_SHORT,
        FailureCode.TOO_LONG,
    }
)


class TrackFailure(Exception):  # noqa: N818 - it is the track that failed, not the code
    """One track cannot be analysed, and why.

    Parameters
    ----------
    code : FailureCode
        The reason, as stored in ``track_failures.code``.
    message : str
        One sentence for a person, with the measured value and the limit where there is one.
    """

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
