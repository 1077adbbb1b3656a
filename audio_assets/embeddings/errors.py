"""What can be wrong with a model, told to a person.

What belongs here: the exceptions alone, so that every module of the package can raise them.
"""


class ModelError(Exception):
    """The embedding model cannot be used; the message says what to do about it."""


class ModelMissingError(ModelError):
    """The weights are not on this machine and could not be fetched."""


class ModelUnusableError(ModelError):
    """The weights are there but damaged, incomplete, of the wrong kind or not safe to read."""
