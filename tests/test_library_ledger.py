"""The ledger: batches never change their members, moves keep results, an unmounted drive deletes nothing."""

import datetime as dt

import pytest

from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.library import Entry, LibraryVanishedError, Measurement, Seen, StatKey, update_ledger

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=1)


def seen(song_id: str, content: str | None = None, path: str | None = None) -> Seen:
    path = path or f"{song_id}.wav"
    return Seen(song_id, path, Measurement(path, StatKey(1, 1), content or f"hash of {song_id}"))


def missing(song_id: str) -> Seen:
    return Seen(song_id, f"{song_id}.wav", TrackFailure(FailureCode.MISSING, "gone"))


def ledger(
    tracks: list[Seen],
    previous: dict[str, Entry] | None = None,
    *,
    follow: bool = False,
    now: dt.datetime = NOW,
) -> dict[str, Entry]:
    return update_ledger(previous or {}, tracks, batch_size=2, ids_follow_content=follow, now=now)


def batches(entries: dict[str, Entry]) -> dict[str, str | None]:
    return {song_id: entry.batch for song_id, entry in entries.items()}


def test_new_tracks_open_new_batches_and_old_ones_stay_where_they_are() -> None:
    first = ledger([seen("a"), seen("b"), seen("c")])
    assert batches(first) == {"a": "batch-000001", "b": "batch-000001", "c": "batch-000002"}
    second = ledger([seen("z"), seen("c"), seen("b"), seen("a")], first)
    assert batches(second) == {**batches(first), "z": "batch-000003"}


def test_a_removed_track_keeps_its_place_and_comes_back_to_it() -> None:
    first = ledger([seen("a"), seen("b")])
    without = ledger([seen("b")], first)
    assert without["a"].status == "removed"
    again = ledger([seen("a"), seen("b"), seen("c")], without)
    assert (again["a"].status, again["a"].batch) == ("live", "batch-000001")
    assert again["c"].batch == "batch-000002"


def test_missing_and_rejected_tracks_get_no_batch_until_they_are_usable() -> None:
    rejected = Seen(
        "r",
        "r.wav",
        Measurement(
            "r.wav", StatKey(1, 1), "h", rejection=TrackFailure(FailureCode.UNDECODABLE, "not audio")
        ),
    )
    first = ledger([missing("m"), rejected, seen("a")])
    assert [first[i].status for i in "mra"] == ["missing", "rejected", "live"]
    assert batches(first) == {"m": None, "r": None, "a": "batch-000001"}
    assert first["r"].failure_code == "undecodable"
    second = ledger([seen("m"), rejected, seen("a")], first)
    assert (second["m"].batch, second["m"].failure_code) == ("batch-000002", None)


def test_a_moved_file_keeps_its_id_when_ids_come_from_paths() -> None:
    first = ledger([seen("old", "content", "old.wav"), seen("b")], follow=True)
    second = ledger([seen("new", "content", "new.wav"), seen("b")], first, follow=True)
    assert set(second) == {"old", "b"}
    assert (second["old"].status, second["old"].file_path) == ("live", "new.wav")


def test_a_copy_is_a_track_of_its_own() -> None:
    first = ledger([seen("a", "content")], follow=True)
    second = ledger([seen("a", "content"), seen("copy", "content")], first, follow=True)
    assert {song_id: entry.status for song_id, entry in second.items()} == {"a": "live", "copy": "live"}


def test_an_unchanged_track_leaves_its_entry_untouched() -> None:
    first = ledger([seen("a"), seen("b")])
    second = ledger([seen("a"), seen("b", "other bytes")], first, now=LATER)
    assert second["a"] == first["a"]
    assert second["b"].changed_at == LATER


def test_a_library_that_vanishes_at_once_is_not_deleted() -> None:
    first = ledger([seen("a"), seen("b")])
    for now_seen in ([], [missing("a"), missing("b")]):
        with pytest.raises(LibraryVanishedError, match="mounted"):
            ledger(now_seen, first)
