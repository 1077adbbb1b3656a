"""Where the headers of a file begin and end: the places at which it hurts to be cut, or to be lied to."""

import struct
from collections.abc import Callable, Iterator

from tools.hostile.ogg import pages

#: Boxes of an MP4 that hold boxes, and how many bytes of their own come before those.
_MP4_FOLDERS = {
    b"moov": 0,
    b"trak": 0,
    b"edts": 0,
    b"mdia": 0,
    b"minf": 0,
    b"dinf": 0,
    b"stbl": 0,
    b"udta": 0,
    b"dref": 8,
    b"stsd": 8,
    b"mp4a": 28,
    b"alac": 28,
}
_MATROSKA_FOLDERS = {0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE1, 0x1F43B675}


def boundaries(format: str, file: bytes) -> list[int]:
    """Offsets at which a header, or a field of one, begins; inside the file, each once, in order."""
    walk = _WALKS.get(format, _fields)
    found = {0, *walk(file), len(file) // 2, len(file) - 1}
    return sorted(offset for offset in found if 0 <= offset < len(file))


def mp4_boxes(file: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each box, those inside of boxes included."""
    yield from _boxes(file, 0, len(file))


def _boxes(file: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", file, start)
        stop = start + size if size else end
        yield name, start, stop
        if name in _MP4_FOLDERS and stop <= end:
            yield from _boxes(file, start + 8 + _MP4_FOLDERS[name], stop)
        start = max(stop, start + 8)


def matroska_elements(file: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Id, start, start of the content and end of each element, those inside of elements included."""
    yield from _elements(file, 0, len(file))


def _elements(file: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    while start + 2 <= end:
        id_length = 9 - file[start].bit_length()
        at = start + id_length
        size_length = 9 - file[at].bit_length()
        size = int.from_bytes(file[at : at + size_length], "big") & ((1 << 7 * size_length) - 1)
        content = at + size_length
        unknown = size == (1 << 7 * size_length) - 1
        stop = end if unknown else min(end, content + size)
        element = int.from_bytes(file[start:at], "big")
        yield element, start, content, stop
        if element in _MATROSKA_FOLDERS:
            yield from _elements(file, content, stop)
        start = stop


def _mp4(file: bytes) -> Iterator[int]:
    for _, start, _ in mp4_boxes(file):
        yield from (start, start + 8)


def _matroska(file: bytes) -> Iterator[int]:
    for _, start, content, _ in list(matroska_elements(file))[:40]:
        yield from (start, content)


def _riff(file: bytes) -> Iterator[int]:
    yield from (4, 8, 12)
    yield from _chunks(file, 12, "<4sI")


def _aiff(file: bytes) -> Iterator[int]:
    yield from (4, 8, 12)
    yield from _chunks(file, 12, ">4sI")


def _caf(file: bytes) -> Iterator[int]:
    yield from (4, 6, 8)
    yield from _chunks(file, 8, ">4sQ")


def _chunks(file: bytes, at: int, header: str) -> Iterator[int]:
    n = struct.calcsize(header)
    while at + n <= len(file):
        name, size = struct.unpack_from(header, file, at)
        yield from (at, at + 4, at + n)
        if name in (b"fmt ", b"COMM", b"desc"):
            yield from range(at + n, at + n + size, 4)
        at += n + size + size % 2


def _flac(file: bytes) -> Iterator[int]:
    at, is_last = 4, False
    while not is_last:
        is_last = bool(file[at] & 0x80)
        size = int.from_bytes(file[at + 1 : at + 4], "big")
        yield from (at, at + 4)
        if at == 4:
            yield from (at + 8, at + 14, at + 18, at + 22)
        at += 4 + size
    yield from (at, at + 2, at + 5, at + 200)


def _ogg(file: bytes) -> Iterator[int]:
    all_pages = pages(file)
    at = 0
    for number, page in enumerate(all_pages):
        size = 27 + len(page.lacing) + len(page.body)
        if number < 4 or number == len(all_pages) - 1:
            yield from (at, at + 6, at + 27, at + 27 + len(page.lacing), at + size - 1)
        at += size


def _mp3(file: bytes) -> Iterator[int]:
    xing = max(file.find(b"Xing"), file.find(b"Info"))
    first = file.find(b"\xff\xfb")
    yield from (first, first + 2, first + 4, xing, xing + 4, xing + 8, xing + 12, xing + 16, xing + 116)
    second = file.find(b"\xff\xfb", xing)
    yield from (second, second + 4, second + 36)


def _asf(file: bytes) -> Iterator[int]:
    yield from (16, 24, 28, 30)
    at, end = 30, int.from_bytes(file[16:24], "little")
    while at + 24 <= end:
        yield from (at, at + 16, at + 24)
        at += max(24, int.from_bytes(file[at + 16 : at + 24], "little"))
    yield from (end, end + 24, end + 50)


def _fields(_: bytes) -> Iterator[int]:
    yield from range(4, 68, 4)


_WALKS: dict[str, Callable[[bytes], Iterator[int]]] = {
    **dict.fromkeys(("wav", "wav24", "wavfloat", "rf64"), _riff),
    "aiff": _aiff,
    "caf": _caf,
    "flac": _flac,
    **dict.fromkeys(("vorbis", "opus"), _ogg),
    "mp3": _mp3,
    **dict.fromkeys(("m4a", "alac"), _mp4),
    **dict.fromkeys(("mka", "webm"), _matroska),
    "wma": _asf,
}
