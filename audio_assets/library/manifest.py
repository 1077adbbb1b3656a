"""Reading what the user says the library is: a CSV, a preprocessing recipe over raw CSVs, or a folder.

Every column of a manifest is carried through untouched. A column becomes numeric only where each of its
values is written the way a number is written; an id such as ``007`` keeps its zeros. ``song_id`` is
always a string.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from audio_assets.library.discovery import discover

_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
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
        paths = [str(path).encode(errors="backslashreplace").decode() for path in discover(root)]
    except OSError as error:
        raise ManifestError(f"a folder of the library cannot be listed: {error}") from error
    # The path stands in for the id, which only the ledger can give: a moved track keeps its own.
    tracks = pa.table({"song_id": pa.array(paths, pa.string()), "audio_path": pa.array(paths, pa.string())})
    return Source(tracks, {"found": tracks.num_rows}, scanned=True)


def _read_csv(path: Path) -> pa.Table:
    if not path.is_file():
        raise ManifestError(f"there is no manifest {path}")
    try:
        # Names first, so that every column can be declared a string: type inference would eat leading zeros.
        with csv.open_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True)) as reader:
            names = reader.schema.names
        if any(not name.strip() for name in names):
            raise ManifestError(f"{path}: a column has no name")
        _refuse_repeats([name.casefold() for name in names], f"{path}: the header names a column twice")
        return csv.read_csv(
            path,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is not a well-formed UTF-8 CSV: {error}") from error


def _follow_recipe(path: Path) -> Source:
    """Preprocess raw tables as a recipe says: rename, join, keep, drop, derive the audio path."""
    if not path.is_file():
        raise ManifestError(f"there is no recipe {path}")
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        table = _read_renamed(path.parent, recipe["metadata"])
        steps = {"read": table.num_rows}
        for other in recipe.get("join", []):
            table = table.join(_read_renamed(path.parent, other), keys=other["on"], join_type="inner")
            steps[f"joined {other['path']}"] = table.num_rows
        for label, rule in _filters(recipe):
            table = table.filter(pa.array(rule(table), pa.bool_()))
            steps[label] = table.num_rows
        if "audio_path" in recipe:
            rows = table.to_pylist()
            paths = [recipe["audio_path"].format_map(row) for row in rows]
            table = table.append_column("audio_path", pa.array(paths, pa.string()))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{path} is not valid TOML: {error}") from error
    except (KeyError, TypeError, pa.ArrowInvalid) as error:
        raise ManifestError(
            f"{path}: the recipe or its tables lack {error}; see examples/manifests/merge.toml"
        ) from error
    return _finish(table.sort_by("song_id"), steps, path)


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


def _finish(table: pa.Table, steps: dict[str, int], path: Path) -> Source:
    missing = {"song_id", "audio_path"} - set(table.column_names)
    if missing:
        raise ManifestError(
            f"{path} has no column {' or '.join(sorted(missing))}, only {', '.join(table.column_names)}. "
            "Rename them in a recipe (examples/manifests/merge.toml)."
        )
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
