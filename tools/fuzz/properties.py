"""What holds for any manifest, path and partition key; each raises AssertionError where it does not."""

from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from audio_assets.failures import FailureCode, TrackFailure
from audio_assets.library import ManifestError, locate, read_source
from audio_assets.partitions import PartitionKeyError, require_batch_key
from audio_assets.warehouse import Record, RecordError

_PATH_CODES = {
    FailureCode.MISSING,
    FailureCode.OUTSIDE_ROOT,
    FailureCode.NOT_A_FILE,
    FailureCode.UNSUPPORTED_PATH,
    FailureCode.UNREADABLE,
}


def manifest_holds(folder: Path, data: bytes) -> None:
    """Bytes of a manifest give whole tracks with ids of their own, or a ManifestError."""
    path = folder / "manifest.csv"
    path.write_bytes(data)
    try:
        tracks = read_source(folder, path).tracks
    except ManifestError:
        return
    ids = tracks["song_id"].to_pylist()
    assert len(set(ids)) == len(ids), "an id twice"
    assert all(song_id.strip() and "\0" not in song_id for song_id in ids), "an id that is none"
    assert tracks["song_id"].type == tracks["audio_path"].type == pa.string()
    assert tracks["audio_path"].null_count == 0
    n_lines = data.count(b"\n") + data.count(b"\r") + 1
    assert tracks.num_rows < max(1, n_lines), "more tracks than lines"


def confined_library(folder: Path) -> Path:
    """Make a library with links out of it and a secret beside it.

    Parameters
    ----------
    folder : Path
        Empty.

    Returns
    -------
    Path
        Its root.
    """
    root = folder / "music"
    (root / "Q4" / "a").mkdir(parents=True)
    for name in ("Q4/a.mp3", "a.mp3", "Q4/a/b.mp3", "C:.mp3", "a\\b.mp3"):
        (root / name).write_bytes(b"x")
    (folder / "secret.mp3").write_bytes(b"secret")
    (root / "out.mp3").symlink_to(folder / "secret.mp3")
    (root / "up").symlink_to(folder)
    (root / "in.mp3").symlink_to("Q4/a.mp3")
    (root / "loop.mp3").symlink_to("loop.mp3")
    return root


def confinement_holds(root: Path, audio_path: str) -> None:
    """Any path is a regular file below the root, or a TrackFailure that speaks of paths."""
    try:
        found = locate(root, audio_path)
    except TrackFailure as failure:
        assert failure.code in _PATH_CODES, failure
        return
    assert not found.is_absolute()
    assert ".." not in found.parts
    path = root / found
    assert path.resolve().is_relative_to(root.resolve()), f"{audio_path!r} leads out"
    assert path.is_file()
    assert not path.is_symlink()
    assert path.read_bytes() == b"x"


def key_holds(folder: Path, key: str) -> None:
    """Any key is one folder directly below its table, or refused; and Dagster gets only keys of ours."""
    table = folder / "clap_embeddings"
    path: Path | None = None
    with suppress(RecordError):
        path = Record(folder).path("clap_embeddings", key)
    if path is not None:
        assert path.parent.parent == table, f"{key!r} leads out"
        assert path.parent.name == f"batch={key}"
        assert key.isascii()
        assert "\n" not in key
    try:
        require_batch_key(key)
    except PartitionKeyError:
        return
    assert path is not None, f"{key!r} is a partition that has no file"
    assert key == f"batch-{int(key.removeprefix('batch-')):06d}" or len(key) > len("batch-000000")
