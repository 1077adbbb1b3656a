"""Reading settings from environment variables.

What belongs here: how a value is read, and how it is refused. What does not: which settings there are; each
is read where it is used.
"""

from collections.abc import Mapping

PREFIX = "AUDIO_ASSETS_"


class SettingError(Exception):
    """A variable has a value that cannot be used; the message says which and what is wanted."""


def read_number(environment: Mapping[str, str], name: str, default: float, lowest: float) -> float:
    """Read a number.

    Parameters
    ----------
    environment : mapping of str to str
        The variables.
    name : str
        Which one, without the prefix.
    default : float
        What it is where the variable is not set, or empty.
    lowest : float
        Least value that makes sense.

    Returns
    -------
    float
        A finite number.

    Raises
    ------
    SettingError
        The value is not one.
    """
    text = environment.get(PREFIX + name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = float("nan")
    if not lowest <= value < float("inf"):
        raise SettingError(f"{PREFIX}{name} is {text!r}; it has to be a number from {lowest:g}")
    return value
