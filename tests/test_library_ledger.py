"""The ledger: batches never change their members, moves keep results, an unmounted drive deletes nothing."""

import datetime as dt

import pytest

from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.library import Entry, LibraryVanishedError, Measurement, Seen, StatKey, update_ledger

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=1)


def seen(song_id: str, content: str | None = None, path: str | None = None, mtime_ns: int = 1) -> Seen:
    path = path or f"{song_id}.wav"
    return Seen(song_id, path, Measurement(path, StatKey(1, mtime_ns, 1), content or f"hash of {song_id}"))


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
            "r.wav", StatKey(1, 1, 1), "h", rejection=TrackFailure(FailureCode.UNDECODABLE, "not audio")
        ),
    )
    first = ledger([missing("m"), rejected, seen("a")])
    assert [first[i].status for i in "mra"] == ["missing", "rejected", "live"]
    assert batches(first) == {"m": None, "r": None, "a": "batch-000001"}
    assert first["r"].failure_code == "undecodable"
    second = ledger([seen("m"), rejected, seen("a")], first)
    assert (second["m"].batch, second["m"].failure_code) == ("batch-000002", None)


def scan(previous: dict[str, Entry], **content_by_path: str) -> dict[str, Entry]:
    """A scan of files given as name=content; the ids are the ledger's to give."""
    return ledger(
        [seen(path, content, path) for path, content in content_by_path.items()], previous, follow=True
    )


def ids(entries: dict[str, Entry]) -> dict[str, str]:
    return {entry.audio_path: song_id for song_id, entry in entries.items() if entry.status == "live"}


def test_a_moved_file_keeps_its_id() -> None:
    first = scan({}, old="song", other="x")
    second = scan(first, new="song", other="x")
    assert ids(second)["new"] == ids(first)["old"]
    assert ids(scan(second, new="song", other="x")) == ids(second)


def test_a_file_that_nobody_saw_while_it_moved_keeps_its_id() -> None:
    first = scan({}, a="song", b="other")
    between = scan(first, b="other")
    after = scan(between, b="other", c="song")
    assert ids(after)["c"] == ids(first)["a"]
    assert after[ids(after)["c"]].batch == first[ids(first)["a"]].batch


def test_copies_that_move_keep_their_ids_once_and_for_all() -> None:
    first = scan({}, p1="song", p2="song", other="x")
    moved = scan(first, q1="song", q2="song", other="x")
    assert {ids(moved)["q1"], ids(moved)["q2"]} == {ids(first)["p1"], ids(first)["p2"]}
    for _ in range(3):
        again = scan(moved, q1="song", q2="song", other="x")
        assert ids(again) == ids(moved)
        moved = again


@pytest.mark.parametrize("renamed", ["p", "r"])
def test_of_a_renamed_file_and_a_copy_of_it_the_file_keeps_its_id(renamed: str) -> None:
    """By its time; nobody looked between the renaming and the copying."""
    first = scan({}, q="song")
    tracks = [seen(path, "song", path, mtime_ns=1 if path == renamed else 2) for path in ("p", "r")]
    after = ledger(tracks, first, follow=True)
    assert ids(after)[renamed] == ids(first)["q"]
    assert len(set(ids(after).values())) == 2


def test_a_new_file_where_one_moved_away_is_another_track() -> None:
    first = scan({}, a="song")
    moved = scan(first, b="song")
    later = scan(moved, a="another", b="song")
    assert ids(later)["b"] == ids(first)["a"]
    assert ids(later)["a"] not in first


def test_a_copy_is_a_track_of_its_own() -> None:
    first = scan({}, a="song")
    second = scan(first, a="song", copy="song")
    assert ids(second)["a"] == ids(first)["a"]
    assert len(set(ids(second).values())) == 2


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
