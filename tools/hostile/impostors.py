"""Things that are no music at all, under the names of music."""

import io
import sqlite3
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from gzip import compress
from itertools import cycle
from pathlib import Path

import numpy as np

from audio_assets.library import AUDIO_SUFFIXES
from audio_assets.library.discovery import SCORE_SUFFIXES
from tools.hostile.case import Case, content

KIND = "impostors"
_SECRET = "/etc/passwd"  # noqa: S105 - a file, and the best known one


def impostors(seed: int) -> Iterator[Case]:
    """Every suffix in turn, with something else behind it; then playlists under those that tempt most."""
    suffixes = cycle(sorted(AUDIO_SUFFIXES | SCORE_SUFFIXES))
    for label, data in _things(np.random.default_rng(seed)):
        yield content(KIND, f"{label}{next(suffixes)}", data)
    for label, text in _PLAYLISTS.items():
        for suffix in (".mp3", ".m4a", ".wav"):
            yield content(KIND, f"playlist {label}{suffix}", text.encode())


_PLAYLISTS = {
    "m3u": f"#EXTM3U\n#EXTINF:10,\n{_SECRET}\n",
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:10\n"
    f"#EXTINF:10.0,\nfile://{_SECRET}\n#EXT-X-ENDLIST\n",
    "hls of a concat": f"#EXTM3U\n#EXTINF:1,\nconcat:{_SECRET}|{_SECRET}\n#EXT-X-ENDLIST\n",
    "pls": f"[playlist]\nFile1={_SECRET}\nNumberOfEntries=1\nVersion=2\n",
    "ffconcat": f"ffconcat version 1.0\nfile {_SECRET}\n",
    "xspf": f'<?xml version="1.0"?><playlist version="1"><trackList><track><location>file://{_SECRET}'
    "</location></track></trackList></playlist>",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
    f'<Representation id="a"><BaseURL>file://{_SECRET}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    "asx": f'<asx version="3.0"><entry><ref href="file://{_SECRET}"/></entry></asx>',
    "smil": f'<smil><body><audio src="file://{_SECRET}"/></body></smil>',
}


def _things(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    noise = rng.bytes(100_000)
    yield "nothing", b""
    yield "a byte", b"\0"
    yield "zeros", bytes(1_000_000)
    yield "ones", b"\xff" * 1_000_000
    yield "noise", noise
    yield "html", b"<!DOCTYPE html><html><body><audio src=song.mp3></body></html>\n" * 50
    yield "not found", b"<html><title>404 Not Found</title></html>"
    yield "text", b"no music\n" * 5_000
    yield "json", b'{"error": "forbidden"}'
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    yield "xml that swells", f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><x>&a9;</x>'.encode()
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "zip", _zip(b"music", 1)
    yield "zip bomb", _zip(bytes(50_000_000), 1)
    yield "zip bomb in zip bombs", _zip(_zip(bytes(10_000_000), 1), 50)
    yield "gzip bomb", compress(bytes(50_000_000))
    yield "tar", _tar()
    yield "pickle", b"cposix\nsystem\n(S'true'\ntR."
    yield "npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + b" " * 60
    yield "sqlite", _database()
    yield "pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    yield "png", b"\x89PNG\r\n\x1a\n" + noise[:1_000]
    yield "jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF" + noise[:1_000]
    yield "elf", b"\x7fELF\x02\x01\x01" + noise[:1_000]
    yield "script", b"#!/bin/sh\nexit 1\n"
    yield "midi", b"MThd\0\0\0\6\0\1\xff\xff\0\x60MTrk\xff\xff\xff\xff\0\xff\x2f\0"
    yield "tracker", b"song".ljust(1080, b"\xff") + b"M.K." + noise
    yield "bmp", b"BM" + b"\xff" * 200
    yield "avi", b"RIFF\xff\xff\xff\xffAVI LIST" + b"\xff" * 500
    yield "webp", b"RIFF\x10\0\0\0WEBPVP8 " + noise[:100]
    for label, magic in _MAGIC.items():
        yield f"{label} and nothing", magic
        yield f"{label} and zeros", magic + bytes(5_000)
        yield f"{label} and noise", magic + noise[:20_000]


_MAGIC = {
    "ape": b"MAC \x96\x0f\0\0",
    "mpc": b"MPCKSH",
    "mpc 7": b"MP+\7",
    "tta": b"TTA1",
    "wv": b"wvpk",
    "flac": b"fLaC\0\0\0\x22",
    "ogg": b"OggS\0\2",
    "riff": b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0",
    "form": b"FORM\xff\xff\xff\xffAIFFCOMM",
    "caf": b"caff\0\1\0\0desc",
    "au": b".snd\0\0\0\x18",
    "id3": b"ID3\4\0\0\0\0\x0f\x76",
    "ebml": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff",
    "mp4": b"\0\0\0\x18ftypM4A \0\0\0\0M4A isom",
    "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
}


def _zip(data: bytes, copies: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(copies):
            archive.writestr(zipfile.ZipInfo(f"{number}.wav"), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("../../song.wav")
        link.type, link.linkname = tarfile.SYMTYPE, _SECRET
        archive.addfile(link)
    return file.getvalue()


def _database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE song (id)")
        connection.commit()
        connection.close()
        return path.read_bytes()
