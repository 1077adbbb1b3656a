"""Few bytes that claim to be, or become, many."""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tools.hostile import ogg
from tools.hostile.case import Case, content
from tools.hostile.lies import patched, riff, wav_format
from tools.hostile.sounds import RATE_HZ, encode, music

KIND = "bombs"
_HOUR = 3_600 * RATE_HZ
_BLOCK = 65_535


def bombs(seed: int) -> Iterator[Case]:
    """Cases of claims, then of contents that grow, then of files that are large and hold nothing."""
    sound = music(seed=seed)
    good = encode("wav", sound)
    yield content(
        KIND, "44 bytes that claim 4 GB.wav", patched(good[:44], 40, struct.pack("<I", 2**31 - 2**17))
    )
    yield content(KIND, "ds64 of 2^62 bytes.wav", _ds64(2**62))
    yield content(KIND, "claims 96 h.flac", flac_of_constant(RATE_HZ, claimed=2**36 - 1))
    yield content(KIND, "3 h of nothing.flac", flac_of_constant(3 * _HOUR))
    yield content(KIND, "3 h of nothing, length unknown.flac", flac_of_constant(3 * _HOUR, claimed=0))
    yield content(KIND, "1.9 h of nothing.flac", flac_of_constant(int(1.9 * _HOUR)))
    yield content(KIND, "1 h of nothing, 8 channels.flac", flac_of_constant(_HOUR, channels=8))
    yield content(KIND, "1.5 h of steps.flac", flac_of_constant(int(1.5 * _HOUR), step=True))
    yield content(KIND, "30 h of nothing.mp3", _mp3_of_one_frame(400_000))
    yield content(KIND, "3 h of 120 ms packets.opus", _opus_of_one_packet(90_000))
    yield content(KIND, "10^5 empty pages.ogg", _ogg_of_empty_pages(encode("vorbis", sound), 10**5))
    yield content(KIND, "10^6 empty chunks.wav", riff((b"fmt ", wav_format()))[:36] + b"JUNK\0\0\0\0" * 10**6)
    yield content(KIND, "10^5 tags.mp3", b"ID3\4\0\0\0\0\0\0" * 10**5 + encode("mp3", sound))
    yield content(KIND, "title of 2 GB, compressed.mp3", _id3_bomb(2_000) + encode("mp3", sound))
    yield content(KIND, "title of 200 MB, compressed.mp3", _id3_bomb(200) + encode("mp3", sound))
    yield content(KIND, "title of 20 MB.mp3", _id3(b"TIT2", b"\3" + b"A" * 20_000_000) + encode("mp3", sound))
    yield content(KIND, "10^5 titles.mp3", _id3(b"TIT2", b"\3" + b"A\0" * 10**5) + encode("mp3", sound))
    yield content(KIND, "comment of 16 MB.flac", _flac_comment(encode("flac", sound), 16_000_000))
    yield content(KIND, "compressed block.mka", _matroska_compressed(50_000_000))
    sparse: dict[str, tuple[bytes, int]] = {
        "1 GB hole.wav": (patched(good[:44], 40, struct.pack("<I", 10**9)), 10**9),
        "1 GB hole.au": (struct.pack(">4sIIIII", b".snd", 24, 10**9, 3, RATE_HZ, 1), 10**9),
        "1 GB hole.mp3": (b"ID3\3\0\0\x7f\x7f\x7f\x7f", 10**9),
        "1 GB hole.flac": (encode("flac", sound), 10**9),
        "300 MB hole.m4a": (encode("m4a", sound), 3 * 10**8),
    }
    for name, (head, size) in sparse.items():
        yield Case(KIND, name, _hole(head, size))


def flac_of_constant(n: int, *, claimed: int | None = None, channels: int = 1, step: bool = False) -> bytes:
    """FLAC of blocks that hold one value each: 14 bytes or so for a second and a half."""
    rate_and_size = (RATE_HZ << 44) | (channels - 1) << 41 | 15 << 36 | (n if claimed is None else claimed)
    info = struct.pack(">HH", _BLOCK, _BLOCK) + bytes(6) + rate_and_size.to_bytes(8, "big") + bytes(16)
    blocks = (
        _flac_frame(number, min(_BLOCK, n - start), channels, 1_000 * (number % 2) if step else 0)
        for number, start in enumerate(range(0, n, _BLOCK))
    )
    return b"fLaC\x80\0\0\x22" + info + b"".join(blocks)


def _flac_frame(number: int, size: int, channels: int, value: int) -> bytes:
    head = (
        bytes([0xFF, 0xF8, 0x79, (channels - 1) << 4 | 0x08])
        + chr(number).encode()
        + (size - 1).to_bytes(2, "big")
    )
    frame = head + bytes([_crc(head, 8, 0x07)]) + (b"\0" + value.to_bytes(2, "big")) * channels
    return frame + _crc(frame, 16, 0x8005).to_bytes(2, "big")


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
    return value


def _ds64(size: int) -> bytes:
    sizes = struct.pack("<QQQI", size, size, size, 0)
    return (
        b"RF64\xff\xff\xff\xffWAVE"
        + b"ds64\x1c\0\0\0"
        + sizes
        + b"fmt \x10\0\0\0"
        + wav_format()
        + b"data\xff\xff\xff\xff"
    )


def _mp3_of_one_frame(n: int) -> bytes:
    """Frames of silence: MPEG 2.5 at 8 kbit/s and 8 kHz, 72 ms in 72 bytes, of which the rest are zeros."""
    return (b"\xff\xe3\x18\xc4" + bytes(68)) * n


def _opus_of_one_packet(n: int) -> bytes:
    head = ogg.page_of(ogg.BEGINS, 0, 0, b"OpusHead\1\1" + struct.pack("<HIhB", 0, 48_000, 0, 0))
    tags = ogg.page_of(0, 0, 1, b"OpusTags" + bytes(8))
    packet = b"\x1b\x06"  # SILK, 60 ms; two frames of no bytes
    pages = []
    for number, start in enumerate(range(0, n, 255), 2):
        count = min(255, n - start)
        kind = ogg.ENDS if start + count == n else 0
        position = (start + count) * 5_760
        pages.append(ogg.Page(kind, position, 1, number, bytes([len(packet)]) * count, packet * count))
    return ogg.joined([head, tags, *pages])


def _ogg_of_empty_pages(good: bytes, n: int) -> bytes:
    first, *rest = ogg.pages(good)
    empty = ogg.Page(0, -1, first.serial, 1, b"", b"").written()
    return first.written() + empty * n + ogg.joined(rest)


def _synchsafe(n: int) -> bytes:
    return bytes(n >> shift & 0x7F for shift in (21, 14, 7, 0))


def _id3(name: bytes, body: bytes, flags: bytes = b"\0\0") -> bytes:
    frame = name + _synchsafe(len(body)) + flags + body
    return b"ID3\4\0\0" + _synchsafe(len(frame)) + frame


def _id3_bomb(megabytes: int) -> bytes:
    squeezing = zlib.compressobj(9)
    parts = [squeezing.compress(b"\3")]
    parts += [squeezing.compress(b"A" * 10**6) for _ in range(megabytes)]
    body = b"".join([*parts, squeezing.flush()])
    return _id3(b"TIT2", _synchsafe(2**28 - 1) + body, b"\0\x09")


def _flac_comment(good: bytes, size: int) -> bytes:
    text = b"TITLE=" + b"A" * size
    block = struct.pack("<II", 0, 1) + struct.pack("<I", len(text)) + text
    return good[:42] + b"\4" + len(block).to_bytes(3, "big") + block + good[42:]


def _matroska_compressed(size: int) -> bytes:
    """PCM in one block, compressed by the container."""

    def element(name: str, content: bytes) -> bytes:
        return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content

    compression = element("6d80", element("6240", element("5034", element("4254", b"\0"))))
    audio = element(
        "e1", element("b5", struct.pack(">d", RATE_HZ)) + element("9f", b"\1") + element("6264", b"\x10")
    )
    entry = (
        element("d7", b"\1") + element("73c5", b"\1") + element("83", b"\2") + element("86", b"A_PCM/INT/LIT")
    )
    tracks = element("1654ae6b", element("ae", entry + audio + compression))
    block = element("a3", b"\x81\0\0\x80" + zlib.compress(np.zeros(size, np.uint8).tobytes(), 9))
    cluster = element("1f43b675", element("e7", b"\0") + block)
    info = element("1549a966", element("2ad7b1", (10**6).to_bytes(3, "big")))
    header = element("1a45dfa3", element("4282", b"matroska"))
    return header + element("18538067", info + tracks + cluster)


def _hole(head: bytes, size: int) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(head)
            file.truncate(size)

    return write
