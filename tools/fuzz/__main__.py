"""``python -m tools.fuzz manifest|path|key --runs N``: libFuzzer, by way of atheris, against one promise.

Needs the extra ``fuzz``. Ends with 0 after that many inputs; on the first that breaks the promise it prints a
traceback, leaves the input in the working folder as ``crash-...``, and ends with another code.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["audio_assets.library", "audio_assets.partitions", "tools.fuzz"]):
    from tools.fuzz.properties import confined_library, confinement_holds, key_holds, manifest_holds

#: In memory where there is such a place: each manifest is a file.
_SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108

_SEEDS = {
    "manifest": (
        b"song_id,audio_path\na,x.mp3\n",
        b'\xef\xbb\xbfsong_id,audio_path,title\r\n007,"a,b.mp3","say ""x"""\r\n1e5,b.mp3,12.50\r\n',
        "song_id,audio_path,n\na,x.mp3,١٢\n".encode(),
        "song_id,audio_path\na,x.mp3\n".encode("utf-16"),
    ),
    "path": (
        b"Q4/a.mp3",
        b"/Users/x/Q4/a.mp3",
        b"C:\\x\\Q4\\a.mp3",
        b"../secret.mp3",
        b"up/secret.mp3",
        b"out.mp3",
    ),
    "key": (b"batch-000001", b"a..b", b"../x", "batch-00000\u0660".encode()),
}
_WORDS = {
    "manifest": (b"song_id,", b"audio_path", b"\r\n", b'""', b"\xef\xbb\xbf", b"\xff\xfe", b"1e400", b"-0"),
    "path": (b"../", b"..\\", b"C:\\", b"Q4", b"a.mp3", b"out.mp3", b"up/", b"secret.mp3", b"\\udcff", b"//"),
    "key": (b"batch-", b"..", b"/", b"\\", b"\n", b"%2e"),
}


def _target(name: str, folder: Path) -> Callable[[bytes], None]:
    if name == "manifest":
        return partial(manifest_holds, folder)
    if name == "key":
        return lambda data: key_holds(folder, data.decode(errors="surrogateescape"))
    root = confined_library(folder)
    return lambda data: confinement_holds(root, data.decode(errors="surrogateescape"))


def main() -> None:
    """Fuzz one target."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz")
    parser.add_argument("target", choices=sorted(_SEEDS))
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_SCRATCH))
    seeds, library = folder / "seeds", folder / "library"
    seeds.mkdir()
    library.mkdir()
    for number, data in enumerate(_SEEDS[options.target]):
        (seeds / str(number)).write_bytes(data)
    words = folder / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in _WORDS[options.target])
    words.write_text("".join(f'"{word}"\n' for word in escaped), encoding="ascii")
    arguments = (
        f"-runs={options.runs}",
        f"-seed={options.seed}",
        f"-dict={words}",
        "-max_len=600",
        str(seeds),
    )
    atheris.Setup([sys.argv[0], *arguments], _target(options.target, library))
    atheris.Fuzz()  # which ends the process


if __name__ == "__main__":
    main()
