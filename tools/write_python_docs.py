"""Write docs/python.md from the docstrings of the Python API: ``python -m tools.write_python_docs``."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import audio_assets

PAGE = Path(__file__).parents[1] / "docs" / "python.md"

_INTRODUCTION = """# The tables in Python

For notebooks and scripts; made from the docstrings by `python -m tools.write_python_docs`. Importing the
package loads nothing heavy; a model is loaded by the first search for a text or a file.

```python
import audio_assets

with audio_assets.open_warehouse("data") as warehouse:
    features = warehouse.features()
    alike = warehouse.similar("SONG_ID", k=5, where="tempo_bpm < 120")
    organs = warehouse.search_text("slow organ music", k=5)
    keys = warehouse.sql("SELECT key, count(*) AS n FROM tracks GROUP BY key ORDER BY n DESC")
```
"""
_HEADING = re.compile(r"^(\w+)\n-+\n", re.MULTILINE)
_LISTS = ("Parameters", "Returns", "Raises")


def page() -> str:
    """Render the page."""
    api = audio_assets.PublishedWarehouse
    methods = {
        name: method
        for name, method in vars(api).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }
    errors = (audio_assets.NotPublishedError, audio_assets.SearchRefusedError)
    parts = [
        _INTRODUCTION,
        _entry("##", audio_assets.open_warehouse, "open_warehouse"),
        _entry("##", api, api.__name__),
        *(_entry("###", method, name) for name, method in methods.items()),
        *(_entry("##", error, error.__name__) for error in errors),
    ]
    return "\n".join(parts)


def _entry(level: str, documented: Callable[..., Any], name: str) -> str:
    summary, *sections = _HEADING.split(inspect.getdoc(documented) or "")
    lines = [f"{level} {name}", ""]
    if inspect.isfunction(documented):
        lines += ["```python", f"{name}{_signature(documented)}", "```", ""]
    lines += [_prose(summary), ""]
    for heading, body in zip(sections[::2], sections[1::2], strict=True):
        # A class's own parameters are for `open_warehouse`, which nobody has to imitate.
        if heading in _LISTS and inspect.isfunction(documented):
            lines += [f"**{heading}**", "", *_items(body), ""]
    return "\n".join(lines)


def _signature(function: Callable[..., Any]) -> str:
    """Names and defaults; the types are in the list of parameters."""
    signature = inspect.signature(function)
    plain = [
        parameter.replace(annotation=parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))


def _items(body: str) -> Iterator[str]:
    """Turn numpydoc's terms and indented definitions into a list."""
    for item in re.split(r"\n(?=\S)", body.strip()):
        term, _, definition = item.partition("\n")
        name, _, kind = term.partition(" : ")
        yield f"- `{name}`{f' ({kind})' if kind else ''}: {_prose(inspect.cleandoc(definition))}".rstrip(": ")


def _prose(text: str) -> str:
    """Join the lines of each paragraph, and mark code as Markdown does."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    return "\n\n".join(paragraphs).replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
