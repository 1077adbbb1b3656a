"""What is done, pending, failed and running."""

from pathlib import Path
from typing import Any

from rich.markup import escape

from audio_assets.cli.opening import existing_data, open_warehouse
from audio_assets.cli.options import DEFAULT_DATA, DataDir
from audio_assets.cli.printing import out, print_rows

_SHOWN = 20
_MINUTE_S = 60
_HOUR_S = 3600


def status(data: DataDir = DEFAULT_DATA) -> None:
    """Say what is done, pending, failed and running, and how long it will take."""
    folder = existing_data(data)
    print_state(folder)
    _print_activity(folder)


def print_state(data: Path) -> dict[str, int]:
    """Print counts, failures and unfinished batches of the live record; return the rows of each table."""
    from audio_assets.warehouse import LINK_NAME, PUBLISHED, open_live, pinned_generation

    with open_live(open_warehouse(data).record) as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query).fetchall()

        counts = {name: int(rows(f"SELECT count(*) FROM {name}")[0][0]) for name in PUBLISHED}  # noqa: S608
        statuses = rows("SELECT status, count(*) FROM manifest GROUP BY status ORDER BY status")
        failures = rows("SELECT stage, code, count(*) FROM track_failures GROUP BY ALL ORDER BY ALL")
    print_rows(("track status", "tracks"), statuses)
    print_rows(("table", "rows"), sorted(counts.items()))
    if failures:
        print_rows(("failed in", "reason", "tracks"), failures)
    link = data / LINK_NAME
    is_published = link.is_symlink()
    out.print(
        escape(f"Published: {link} -> {link.readlink()}") if is_published else "Nothing is published yet."
    )
    if held_at := pinned_generation(data):
        out.print(f"A rollback holds readers at {held_at}; 'audio-assets rollback --release' ends it.")
    return counts


def _print_activity(data: Path) -> None:
    """Print what is pending, for how long yet, and what is at work on it."""
    from audio_assets.attempts import Attempts
    from audio_assets.automation import AutomationSettings
    from audio_assets.automation.backfills import unfinished_targets
    from audio_assets.automation.on_demand import activity
    from audio_assets.gate import BATCHED, describe, unproven
    from audio_assets.outstanding import outstanding_as_recorded
    from audio_assets.pipeline import open_instance
    from audio_assets.warehouse import measured_rate

    warehouse = open_warehouse(data)
    with open_instance(data) as instance:
        busy = unfinished_targets(instance)
        work = outstanding_as_recorded(instance, warehouse, busy)
        held_back = unproven(instance, warehouse.record, without=busy)
        going_on = activity(instance)
    given_up = Attempts(data, AutomationSettings.from_environment().most_attempts).given_up(work)
    rows = []
    for table in BATCHED:
        n_pending = sum(len(item.tracks) for item in work if item.table == table)
        rate = measured_rate(warehouse.record, table)
        n_batches = sum(item.table == table for item in work)
        rows.append((table, n_pending, n_batches, _rate(rate), _eta(n_pending, rate)))
    print_rows(("pending in", "tracks", "batches", "rate", "time to go"), rows)
    for item in given_up[:_SHOWN]:
        what = f"{len(item.tracks)} tracks" if item.tracks else "it fails a blocking check"
        out.print(f"Given up: {item.table} of {item.batch}, {what}; see audio-assets retry.")
    if held_back:
        out.print(escape(f"Held back: {describe(held_back)}."))
    for line in going_on:
        out.print(escape(line))


def _rate(tracks_per_s: float | None) -> str:
    return "not measured yet" if tracks_per_s is None else f"{tracks_per_s:.3g} tracks/s"


def _eta(n_tracks: int, tracks_per_s: float | None) -> str:
    if not n_tracks:
        return "done"
    if tracks_per_s is None:
        return "not known yet"
    seconds = n_tracks / tracks_per_s
    if seconds < 2 * _HOUR_S:
        return f"about {max(1, round(seconds / _MINUTE_S))} min"
    return f"about {seconds / _HOUR_S:.1f} h"
