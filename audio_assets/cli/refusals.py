"""What errors of other people's code mean, in a sentence."""

import sqlite3


def database_refusal(error: BaseException | None) -> str | None:
    """Say in a sentence that Dagster's database found the disk full or read-only; None for other errors."""
    read_only = (
        "Dagster's run records (dagster/ of the data) cannot be written to. "
        "Mount it read-write, or give it to the user that runs audio-assets, and run again"
    )
    refusals = {
        sqlite3.SQLITE_FULL: "No space left on device for Dagster's run records (dagster/ of the data). "
        "Free some and run again; finished tracks are kept",
        sqlite3.SQLITE_READONLY: read_only,
        sqlite3.SQLITE_CANTOPEN: read_only,  # even to read, a file beside the database has to be made
        # What SQLite says where not even the file that readers share can grow.
        sqlite3.SQLITE_IOERR: "Dagster's run records (dagster/ of the data) cannot be read. If the disk is "
        "full, free some and run again; finished tracks are kept",
    }
    while error is not None:
        if isinstance(error, sqlite3.Error):
            return refusals.get(error.sqlite_errorcode & 0xFF)  # the rest is an extended code
        error = error.__cause__ or error.__context__
    return None
