"""Pages of an Ogg file, taken apart and put together again with a checksum that is right."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

_HEADER = struct.Struct("<4sBBqIIIB")
_CHECKSUM = slice(22, 26)
_POLYNOMIAL = 0x04C11DB7

BEGINS, ENDS = 0x02, 0x04


@dataclass(frozen=True)
class Page:
    """One page: what its header says, and the lengths and bytes of its segments."""

    kind: int
    position: int
    serial: int
    number: int
    lacing: bytes
    body: bytes

    def written(self) -> bytes:
        """Bytes of the page, its checksum included."""
        head = _HEADER.pack(
            b"OggS", 0, self.kind, self.position, self.serial, self.number, 0, len(self.lacing)
        )
        page = bytearray(head + self.lacing + self.body)
        page[_CHECKSUM] = _checksum(page).to_bytes(4, "little")
        return bytes(page)


def page_of(kind: int, position: int, number: int, packet: bytes) -> Page:
    """One page with one packet."""
    lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    return Page(kind, position, 1, number, lacing, packet)


def pages(ogg: bytes) -> list[Page]:
    """Pages of a whole file."""
    found, at = [], 0
    while at < len(ogg):
        _, _, kind, position, serial, number, _, n = _HEADER.unpack_from(ogg, at)
        lacing = ogg[at + _HEADER.size : at + _HEADER.size + n]
        start = at + _HEADER.size + n
        at = start + sum(lacing)
        found.append(Page(kind, position, serial, number, lacing, ogg[start:at]))
    return found


def joined(all_pages: Iterable[Page]) -> bytes:
    """Bytes of a file of these pages."""
    return b"".join(page.written() for page in all_pages)


def renumbered(ogg: bytes, serial: int = 1) -> bytes:
    """Give the file with another number of its stream."""
    return joined(replace(page, serial=serial) for page in pages(ogg))


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (_POLYNOMIAL if value & 0x8000_0000 else 0)
        table.append(value & 0xFFFF_FFFF)
    return table


_TABLE = _table()


def _checksum(page: bytes | bytearray) -> int:
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFF_FFFF) ^ _TABLE[(value >> 24) ^ byte]
    return value
