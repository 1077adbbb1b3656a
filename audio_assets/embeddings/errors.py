"""What can be wrong with a model, told to a person.

What belongs here: the exceptions, so that every module of the package can raise them, and the one place where
others' become ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ModelError(Exception):
    """The embedding model cannot be used; the message says what to do about it."""


class ModelMissingError(ModelError):
    """The weights are not on this machine and could not be fetched."""


class ModelUnusableError(ModelError):
    """The weights are there but damaged, incomplete, of the wrong kind or not safe to read."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell what goes wrong while a checkpoint's file is read as its damage, naming the file.

    The libraries that read them raise almost anything for a file that is cut short or of something else.

    Parameters
    ----------
    path : Path
        What is being read.

    Raises
    ------
    ModelUnusableError
        In place of whatever else was raised; memory that ran out and what is one already pass.
    """
    try:
        yield
    except (MemoryError, ModelError, ImportError):
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        raise ModelUnusableError(
            f"{path} is damaged or of another kind of model ({type(error).__name__}: {reason[0][:200]}): "
            "copy the checkpoint again, or delete its folder and pull the model again."
        ) from error
