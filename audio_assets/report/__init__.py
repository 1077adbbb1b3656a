"""One HTML file that says what a published collection is like, for somebody who has nothing but the file.

``columns`` judges feature columns, ``contents`` reads the published tables, ``charts`` draws what
``plots`` does not, ``page`` puts all of it into ``page.html``.

What belongs here: what the report says and how it looks. What does not: Dagster, the record, and numbers
that a table should hold.
"""

from audio_assets.report.columns import ColumnSummary, concerns, copies, missing_tonics, summarise
from audio_assets.report.contents import read_contents
from audio_assets.report.page import render

__all__ = [
    "ColumnSummary",
    "concerns",
    "copies",
    "missing_tonics",
    "read_contents",
    "render",
    "summarise",
]
