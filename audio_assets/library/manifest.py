"""Reading what the user says the library is: a CSV, a preprocessing recipe over raw CSVs, or a folder.

Every column of a manifest is carried through untouched. A column becomes numeric only where each of its
values is written the way a number is written; an id such as ``007`` keeps its zeros. ``song_id`` is
always a string.
"""

import csv
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from audio_assets.library.discovery import discover
from audio_assets.library.paths import escaped_name

# ASCII only, as \d takes the digits of all scripts. A number of more than 15 digits before its point is an id
# that a float would round.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_ROWS_AT_ONCE = 10_000
_SHOWN = 5

_Filter = Callable[[pa.Table], list[bool]]


class ManifestError(Exception):
    """The manifest cannot be used as it is; the message says where and what to change."""


@dataclass(frozen=True)
class Source:
    """The tracks the user named, before anything on disk was looked at.

    Parameters
    ----------
    tracks : pa.Table
        One row a track: ``song_id`` and ``audio_path`` (strings) and the carried columns.
    steps : dict of str to int
        Rows left after each preprocessing step, in order.
    scanned : bool
        True where the ids come from file paths, so that a moved file keeps its id by its content.
    """

    tracks: pa.Table
    steps: dict[str, int] = field(default_factory=dict)
    scanned: bool = False


def read_source(root: Path, manifest: Path | None) -> Source:
    """Tracks of a library: from its manifest, or from its folder where there is none.

    Parameters
    ----------
    root : Path
        Library root.
    manifest : Path, optional
        A ``.csv`` file, or a ``.toml`` preprocessing recipe (see ``examples/manifests/merge.toml``).

    Returns
    -------
    Source
        The named tracks.

    Raises
    ------
    ManifestError
        The root or the manifest is missing or malformed.
    """
    if not root.is_dir():
        raise ManifestError(f"the library root {root} is not a folder; is the drive mounted?")
    if manifest is None:
        return _scan(root)
    if manifest.suffix.lower() == ".toml":
        return _follow_recipe(manifest)
    table = _read_csv(manifest)
    return _finish(table, {"read": table.num_rows}, manifest)


def _scan(root: Path) -> Source:
    try:
        # Once each, as a name may look like another one that is escaped.
        paths = list(dict.fromkeys(escaped_name(str(path)) for path in discover(root)))
    except OSError as error:
        raise ManifestError(f"a folder of the library cannot be listed: {error}") from error
    # The path stands in for the id, which only the ledger can give: a moved track keeps its own.
    tracks = pa.table({"song_id": pa.array(paths, pa.string()), "audio_path": pa.array(paths, pa.string())})
    return Source(tracks, {"found": tracks.num_rows}, scanned=True)


def _read_csv(path: Path) -> pa.Table:
    """Read a CSV, every column as text; refuse whatever another program might read otherwise.

    With Python's reader, as Arrow's takes a quote that is never closed, or closed in the middle of a cell,
    for text: the tracks behind it would be gone without a word.
    """
    if not path.is_file():
        raise ManifestError(f"there is no manifest {path}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(_without_nul(file, path), strict=True)
            try:
                names = next((row for row in rows if row), [])
                _refuse_names(names, path)
                schema = pa.schema([(name, pa.string()) for name in names])
                return pa.Table.from_batches(_batches(rows, schema), schema)
            except csv.Error as error:
                raise ManifestError(
                    f"{path} is not a well-formed CSV: line {rows.line_num}: {error}"
                ) from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} has to be saved as UTF-8: {error}") from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error


def _without_nul(lines: Iterable[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise ManifestError(
                f"{path} holds a NUL in line {number}: UTF-16, perhaps; it has to be saved as UTF-8"
            )
        yield line


def _refuse_names(names: list[str], path: Path) -> None:
    if not names:
        raise ManifestError(f"{path} is empty: a well-formed manifest begins with the names of its columns")
    if any(not name.strip() for name in names):
        raise ManifestError(f"{path}: a column has no name")
    _refuse_repeats([name.casefold() for name in names], f"{path}: the header names a column twice")


def _batches(rows: Iterator[list[str]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows, some at a time: as Python's objects they take several times the memory."""
    whole = (_whole(row, len(schema)) for row in rows if row)  # a blank line is no row
    while block := list(islice(whole, _ROWS_AT_ONCE)):
        columns = ([cell or None for cell in column] for column in zip(*block, strict=True))
        yield pa.record_batch([pa.array(column, pa.string()) for column in columns], schema=schema)


def _whole(row: list[str], n_cells: int) -> list[str]:
    if len(row) != n_cells:
        raise csv.Error(f"{len(row)} cells, where the header names {n_cells}")
    return row


def _follow_recipe(path: Path) -> Source:
    """Preprocess raw tables as a recipe says: rename, join, keep, drop, derive the audio path."""
    if not path.is_file():
        raise ManifestError(f"there is no recipe {path}")
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        table, steps = _preprocess(recipe, path.parent)
        _require_columns(table, path)
        return _finish(table.sort_by("song_id"), steps, path)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    # A recipe may have anything anywhere; pyarrow and format strings say what is wrong with it as ValueError.
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError) as error:
        raise ManifestError(
            f"{path} does not fit its tables, or is no recipe (see examples/manifests/merge.toml): "
            f"{type(error).__name__}: {error}"
        ) from error


def _preprocess(recipe: dict[str, Any], folder: Path) -> tuple[pa.Table, dict[str, int]]:
    table = _read_renamed(folder, recipe["metadata"])
    steps = {"read": table.num_rows}
    for other in recipe.get("join", []):
        table = table.join(_read_renamed(folder, other), keys=other["on"], join_type="inner")
        steps[f"joined {other['path']}"] = table.num_rows
    for label, rule in _filters(recipe):
        table = table.filter(pa.array(rule(table), pa.bool_()))
        steps[label] = table.num_rows
    if "audio_path" in recipe:
        rows = table.to_pylist()
        paths = [recipe["audio_path"].format_map(row) for row in rows]
        table = table.append_column("audio_path", pa.array(paths, pa.string()))
    names = [name.casefold() for name in table.column_names]
    _refuse_repeats(names, "after renaming and joining, two columns have one name")
    return table, steps


def _read_renamed(folder: Path, spec: dict[str, Any]) -> pa.Table:
    table = _read_csv(folder / spec["path"])
    names = [spec.get("rename", {}).get(name, name) for name in table.column_names]
    table = table.rename_columns(names)
    return table.select(spec["columns"]) if "columns" in spec else table


def _filters(recipe: dict[str, Any]) -> Iterator[tuple[str, _Filter]]:
    for name in recipe.get("keep_nonblank", []):
        yield f"{name} not blank", partial(_keep_nonblank, name)
    for rule in recipe.get("drop_all_in", []):
        yield f"{rule['column']} not only {'|'.join(rule['values'])}", partial(_drop_all_in, rule)


def _keep_nonblank(name: str, table: pa.Table) -> list[bool]:
    return [_nonblank(value) for value in table[name].to_pylist()]


def _drop_all_in(rule: dict[str, Any], table: pa.Table) -> list[bool]:
    banned = frozenset(rule["values"])
    separator = rule.get("separator", ",")
    return [not _all_in(value, separator, banned) for value in table[rule["column"]].to_pylist()]


def _nonblank(value: str | None) -> bool:
    return value is not None and bool(value.strip())


def _all_in(value: str | None, separator: str, banned: frozenset[str]) -> bool:
    parts = {part.strip() for part in (value or "").split(separator)} - {""}
    return bool(parts) and parts <= banned


def _require_columns(table: pa.Table, path: Path) -> None:
    missing = {"song_id", "audio_path"} - set(table.column_names)
    if missing:
        raise ManifestError(
            f"{path} has no column {' or '.join(sorted(missing))}, only {', '.join(table.column_names)}. "
            "Rename them in a recipe (examples/manifests/merge.toml)."
        )


def _finish(table: pa.Table, steps: dict[str, int], path: Path) -> Source:
    _require_columns(table, path)
    ids = table["song_id"].to_pylist()
    blank = [str(row + 1) for row, song_id in enumerate(ids) if not _nonblank(song_id)]
    if blank:
        raise ManifestError(f"{path}: song_id is blank in data rows {', '.join(blank[:_SHOWN])}")
    _refuse_repeats(ids, f"{path}: song_id is not unique")
    columns = {
        name: table[name] if name in ("song_id", "audio_path") else _typed(table[name])
        for name in table.column_names
    }
    columns["audio_path"] = pc.fill_null(columns["audio_path"], "")
    return Source(pa.table(columns), steps)


def _refuse_repeats(values: list[str], message: str) -> None:
    seen: set[str] = set()
    repeated = [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]
    if repeated:
        raise ManifestError(f"{message}: {', '.join(repeated[:_SHOWN])}")


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast a text column to int64 or float64 where every value is written as such a number."""
    values = [value for value in column.to_pylist() if value is not None]
    for pattern, dtype in ((_INTEGER, pa.int64()), (_DECIMAL, pa.float64())):
        if values and all(pattern.fullmatch(value) and isfinite(float(value)) for value in values):
            return column.cast(dtype)
    return column
