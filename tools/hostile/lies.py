"""Headers that lie: sizes, rates, channels, counts, in every format."""

import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tools.hostile import ogg
from tools.hostile.boundaries import boundaries, matroska_elements, mp4_boxes
from tools.hostile.case import Case, content
from tools.hostile.sounds import FORMATS, encode, music, sndfile

KIND = "lies"
_U16, _U32, _U64 = 2**16 - 1, 2**32 - 1, 2**64 - 1
_FLIPS = 4


def lies(seed: int) -> Iterator[Case]:
    """Cases of one field each, then of bytes changed at random."""
    sound = music(seed=seed)
    for make in (
        _wav,
        _aiff,
        _au,
        _caf,
        _flac,
        _vorbis,
        _opus,
        _mp3,
        _adts,
        _mp4,
        _matroska,
        _asf,
        _tta,
        _wv,
    ):
        for label, data in make(sound):
            suffix = FORMATS[make.__name__[1:]][0] if make.__name__[1:] in FORMATS else _SUFFIXES[make]
            yield content(KIND, f"{make.__name__[1:]} {label}{suffix}", data)
    yield from _flipped(sound, seed)


def patched(file: bytes, at: int, *new: bytes) -> bytes:
    """Bytes with others in place of those at an offset."""
    data = b"".join(new)
    return file[:at] + data + file[at + len(data) :]


def riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    """RIFF file of chunks with their true sizes."""
    body = b"".join(
        name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + (4 + len(body) if size is None else size).to_bytes(4, "little") + b"WAVE" + body


def wav_format(
    tag: int = 1,
    channels: int = 1,
    rate_hz: int = 44_100,
    align: int = 2,
    bits: int = 16,
    per_s: int | None = None,
) -> bytes:
    """Content of a ``fmt`` chunk."""
    bytes_per_s = (rate_hz * align) & _U32 if per_s is None else per_s
    return struct.pack("<HHIIHH", tag, channels, rate_hz, bytes_per_s, align, bits)


def _wav(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    data = (sound * 32767).astype("<i2").tobytes()
    good = riff((b"fmt ", wav_format()), (b"data", data))
    for size in (0, 1, 4, _U32):
        yield f"riff size {size}", riff((b"fmt ", wav_format()), (b"data", data), size=size)
    for size in (0, 1, 3, len(data) + 2, 2**31 - 1, 2**31, _U32 - 1, _U32):
        yield f"data size {size}", patched(good, 40, struct.pack("<I", size))
    for size in (0, 1, 14, 15, 17, 40, 2**31, _U32):
        yield f"fmt size {size}", patched(good, 16, struct.pack("<I", size))
    for tag in (0, 2, 3, 6, 7, 0x11, 0x31, 0x50, 0x55, 0x160, 0xFFFE, _U16):
        yield f"tag {tag}", riff((b"fmt ", wav_format(tag)), (b"data", data))
    for channels in (0, 2, 3, 32, 33, 255, 1024, _U16):
        chunk = wav_format(channels=channels, align=(2 * channels) & _U16)
        yield f"{channels} channels", riff((b"fmt ", chunk), (b"data", data))
    yield "1024 channels, align 2", riff((b"fmt ", wav_format(channels=1024)), (b"data", data))
    for rate_hz in (0, 1, 2, 100, 3_999, 4_000, 384_000, 384_001, 2**31 - 1, 2**31, _U32):
        yield f"{rate_hz} Hz", riff((b"fmt ", wav_format(rate_hz=rate_hz)), (b"data", data))
    for per_s in (0, 1, _U32):
        yield f"{per_s} bytes a second", riff((b"fmt ", wav_format(per_s=per_s)), (b"data", data))
    for align in (0, 1, 3, _U16):
        yield f"align {align}", riff((b"fmt ", wav_format(align=align)), (b"data", data))
    for bits in (0, 1, 7, 8, 12, 24, 32, 33, 64, 255, _U16):
        yield f"{bits} bits", riff((b"fmt ", wav_format(bits=bits)), (b"data", data))
    for tag, bits in ((3, 16), (3, 32), (3, 64), (3, 128)):
        yield (
            f"float of {bits} bits",
            riff((b"fmt ", wav_format(tag, align=bits // 8, bits=bits)), (b"data", data)),
        )
    yield "no fmt", riff((b"data", data))
    yield "no data", riff((b"fmt ", wav_format()))
    yield "data before fmt", riff((b"data", data), (b"fmt ", wav_format()))
    yield (
        "fmt twice",
        riff((b"fmt ", wav_format()), (b"fmt ", wav_format(channels=7, rate_hz=1)), (b"data", data)),
    )
    yield "data twice", riff((b"fmt ", wav_format()), (b"data", data), (b"data", data))
    yield "empty data before data", riff((b"fmt ", wav_format()), (b"data", b""), (b"data", data))
    yield "fact lies", riff((b"fmt ", wav_format()), (b"fact", b"\xff" * 4), (b"data", data))
    yield "RIFX", patched(good, 0, b"RIFX")
    yield "RF64 without ds64", patched(good, 0, b"RF64")
    ds64 = struct.pack("<QQQI", _U64, _U64, _U64, _U32)
    yield "ds64 lies", patched(riff((b"ds64", ds64), (b"fmt ", wav_format()), (b"data", data)), 0, b"RF64")
    listed = b"INFOINAM" + struct.pack("<I", _U32) + b"title"
    yield "LIST lies", riff((b"LIST", listed), (b"fmt ", wav_format()), (b"data", data))
    yield "JUNK of 4 GB", good[:12] + b"JUNK" + b"\xff" * 4 + good[12:]
    yield "odd chunk unpadded", good[:12] + b"JUNK\3\0\0\0abc" + good[12:]
    yield (
        "id3 chunk lies",
        riff((b"fmt ", wav_format()), (b"data", data), (b"id3 ", b"ID3\4\0\0\x7f\x7f\x7f\x7fTIT2")),
    )
    yield (
        "cue lies",
        riff((b"fmt ", wav_format()), (b"cue ", b"\xff" * 8), (b"smpl", b"\xff" * 40), (b"data", data)),
    )


def _aiff(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("aiff", sound)
    comm = good.index(b"COMM") + 8
    ssnd = good.index(b"SSND")
    rates = {
        "0 Hz": bytes(10),
        "1 Hz": bytes.fromhex("3fff8000000000000000"),
        "NaN Hz": bytes.fromhex("7fffc000000000000000"),
        "infinite Hz": bytes.fromhex("7fff8000000000000000"),
        "negative rate": bytes.fromhex("c00eac44000000000000"),
        "2^62 Hz": bytes.fromhex("403d8000000000000000"),
        "half a Hz": bytes.fromhex("3ffe8000000000000000"),
        "denormal Hz": bytes.fromhex("00000000000000000001"),
    }
    for label, rate in rates.items():
        yield label, patched(good, comm + 8, rate)
    for channels in (0, 2, 1024, _U16):
        yield f"{channels} channels", patched(good, comm, struct.pack(">H", channels))
    for frames in (0, 1, 2**31, _U32):
        yield f"{frames} frames", patched(good, comm + 2, struct.pack(">I", frames))
    for bits in (0, 1, 8, 33, _U16):
        yield f"{bits} bits", patched(good, comm + 6, struct.pack(">H", bits))
    for size in (0, 1, 2**31, _U32):
        yield f"sound size {size}", patched(good, ssnd + 4, struct.pack(">I", size))
    yield "sound offset", patched(good, ssnd + 8, b"\xff" * 4)
    yield "sound block size", patched(good, ssnd + 12, b"\xff" * 4)
    yield "AIFC without a codec", patched(good, 8, b"AIFC")
    yield "COMM of 4 GB", patched(good, comm - 4, b"\xff" * 4)


def _au(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("au", sound)
    fields = {"header size": 4, "data size": 8, "encoding": 12, "rate": 16, "channels": 20}
    for label, at in fields.items():
        for value in (0, 1, 27, 1024, 2**31, _U32):
            yield f"{label} {value}", patched(good, at, struct.pack(">I", value))


def _caf(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("caf", sound)
    desc = good.index(b"desc") + 12
    for rate_hz in (0.0, 1.0, -44_100.0, float("nan"), float("inf"), 1e300, 5e-324):
        yield f"{rate_hz} Hz", patched(good, desc, struct.pack(">d", rate_hz))
    fields = {"flags": 12, "packet bytes": 16, "packet frames": 20, "channels": 24, "bits": 28}
    for label, at in fields.items():
        for value in (0, 1024, _U32):
            yield f"{label} {value}", patched(good, desc + at, struct.pack(">I", value))
    yield "codec", patched(good, desc + 8, b"zzzz")
    data = good.index(b"data") + 4
    for size in (0, 3, 2**62, _U64):
        yield f"data size {size}", patched(good, data, struct.pack(">Q", size))


def _flac(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("flac", sound)
    packed = int.from_bytes(good[18:26], "big")  # 20 bits of rate, 3 of channels, 5 of bits, 36 of samples

    def stream(
        rate_hz: int | None = None, channels: int | None = None, bits: int | None = None, n: int | None = None
    ) -> bytes:
        rate_hz = packed >> 44 if rate_hz is None else rate_hz
        channels = (packed >> 41 & 7) + 1 if channels is None else channels
        bits = (packed >> 36 & 31) + 1 if bits is None else bits
        n = packed & (2**36 - 1) if n is None else n
        return patched(
            good, 18, (rate_hz << 44 | (channels - 1) << 41 | (bits - 1) << 36 | n).to_bytes(8, "big")
        )

    for rate_hz in (0, 1, 3_999, 655_350, 2**20 - 1):
        yield f"{rate_hz} Hz", stream(rate_hz=rate_hz)
    for channels in (2, 8):
        yield f"{channels} channels", stream(channels=channels)
    for bits in (1, 4, 24, 32):
        yield f"{bits} bits", stream(bits=bits)
    for n in (1, 2**20, 2**36 - 1):
        yield f"{n} samples", stream(n=n)
    for label, value in {"0": bytes(4), "16": b"\0\x10\0\x10", "65535": b"\xff" * 4}.items():
        yield f"block size {label}", patched(good, 8, value)
    yield (
        "wrong MD5",
        patched(
            good,
            26,
            bytes(16),
        ),
    )
    yield "STREAMINFO of 16 MB", patched(good, 5, b"\xff" * 3)
    yield "STREAMINFO of 0 bytes", patched(good, 5, bytes(3))
    yield "no last block", patched(good, 4, b"\0").replace(b"\x84", b"\x04", 1)
    picture = struct.pack(">II", 3, _U32) + b"image/png"
    block = b"\6" + len(picture).to_bytes(3, "big") + picture
    yield "picture lies", good[:42] + block + good[42:]
    seeks = b"\3" + (18 * 3).to_bytes(3, "big") + b"\xff" * 18 + bytes(18) + b"\x7f" * 18
    yield "seek table lies", good[:42] + seeks + good[42:]
    comment = struct.pack("<I", 0) + struct.pack("<I", _U32)
    yield "2^32 comments", good[:42] + b"\4" + len(comment).to_bytes(3, "big") + comment + good[42:]
    yield "ID3 before it", b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + good
    yield "frame header", patched(good, boundaries("flac", good)[-4], b"\xff\xff\xff")
    yield "twice", good + good


def _vorbis(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("vorbis", sound)
    all_pages = ogg.pages(good)
    for rate_hz in (0, 1, 3_999, 2**31 - 1, _U32):
        yield f"{rate_hz} Hz", _with_body(all_pages, 0, 12, struct.pack("<I", rate_hz))
    for channels in (0, 2, 255):
        yield f"{channels} channels", _with_body(all_pages, 0, 11, bytes([channels]))
    yield "version", _with_body(all_pages, 0, 7, b"\xff" * 4)
    yield "block sizes", _with_body(all_pages, 0, 28, b"\xff")
    yield "comment length", _with_body(all_pages, 1, 7, b"\xff" * 4)
    yield "set-up", _with_body(all_pages, 1, 100, bytes(400))
    yield from _pages(all_pages)
    other = ogg.pages(ogg.renumbered(sndfile(music(seed=1, rate_hz=22_050), "OGG", "VORBIS", 22_050), 2))
    yield "chained at another rate", ogg.joined([*all_pages, *other])
    stereo = sndfile(np.stack([sound, sound], axis=1), "OGG", "VORBIS")
    yield "chained in stereo", ogg.joined([*all_pages, *ogg.pages(ogg.renumbered(stereo, 3))])
    yield "chained with itself", good + good
    mixed = [page for pair in zip(all_pages, other, strict=False) for page in pair]
    yield "two streams at once", ogg.joined(mixed)


def _opus(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    all_pages = ogg.pages(encode("opus", sound))
    for version in (0, 2, 16, 255):
        yield f"version {version}", _with_body(all_pages, 0, 8, bytes([version]))
    for channels in (0, 2, 255):
        yield f"{channels} channels", _with_body(all_pages, 0, 9, bytes([channels]))
    for skip in (0, _U16):
        yield f"pre-skip {skip}", _with_body(all_pages, 0, 10, struct.pack("<H", skip))
    for rate_hz in (0, 1, _U32):
        yield f"{rate_hz} Hz", _with_body(all_pages, 0, 12, struct.pack("<I", rate_hz))
    for gain in (-32_768, 32_767):
        yield f"gain {gain}", _with_body(all_pages, 0, 16, struct.pack("<h", gain))
    for family in (1, 2, 3, 255):
        yield f"mapping {family}", _with_body(all_pages, 0, 18, bytes([family]))
    yield "tags lie", _with_body(all_pages, 1, 8, b"\xff" * 4)
    yield from _pages(all_pages)


def _with_body(all_pages: list[ogg.Page], number: int, at: int, new: bytes) -> bytes:
    page = all_pages[number]
    return ogg.joined(
        [*all_pages[:number], replace(page, body=patched(page.body, at, new)), *all_pages[number + 1 :]]
    )


def _pages(all_pages: list[ogg.Page]) -> Iterator[tuple[str, bytes]]:
    *head, last = all_pages
    for position in (-1, 0, 1, 2**40, 2**63 - 1, -(2**63)):
        yield f"last position {position}", ogg.joined([*head, replace(last, position=position)])
    yield "no end", ogg.joined([*head, replace(last, kind=0)])
    yield "end in the middle", ogg.joined([*head[:-1], replace(head[-1], kind=ogg.ENDS), last])
    yield "page missing", ogg.joined([*head[:-1], last])
    yield "page twice", ogg.joined([*head, head[-1], last])
    yield "pages swapped", ogg.joined([*head[:-1], last, head[-1]])
    yield "begins again", ogg.joined([*head, replace(last, kind=ogg.BEGINS | ogg.ENDS)])
    yield "segments of nothing", ogg.joined([*head, replace(last, lacing=bytes(255), body=b"")])
    yield "wrong checksum", ogg.joined(head) + patched(last.written(), 22, b"\0\0\0\0")


def _mp3(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("mp3", sound)
    first = good.index(b"\xff\xfb")
    xing = max(good.find(b"Xing"), good.find(b"Info"))
    bare = good[good.index(b"\xff\xfb", xing) :]
    for n in (0, 1, 10**6, _U32):
        yield f"Xing counts {n} frames", patched(good, xing + 8, struct.pack(">I", n))
    for n in (0, _U32):
        yield f"Xing counts {n} bytes", patched(good, xing + 12, struct.pack(">I", n))
    yield "no Xing", bare
    for label, header in {
        "free bit rate": b"\xff\xfb\x00\x00",
        "bit rate 15": b"\xff\xfb\xf0\x00",
        "rate 3": b"\xff\xfb\x9c\x00",
        "layer 0": b"\xff\xf9\x90\x00",
        "MPEG 2.5": b"\xff\xe3\x90\x00",
        "all ones": b"\xff\xff\xff\xff",
    }.items():
        yield label, patched(good, first, header)
    for label, size in {"0": b"\0\0\0\0", "256 MB": b"\x7f" * 4, "not synchsafe": b"\xff" * 4}.items():
        yield f"ID3 of {label}", b"ID3\4\0\0" + size + good
    yield "ID3 frame of 256 MB", b"ID3\4\0\0\0\0\0\x14TIT2\x7f\x7f\x7f\x7f\0\0\3title\0\0\0" + good
    yield "ID3 version 255", b"ID3\xff\xff\xff\0\0\0\x0a" + bytes(10) + good
    yield "ID3 extended header lies", b"ID3\4\0\x40\0\0\0\x0a\x7f\x7f\x7f\x7f" + bytes(6) + good
    yield "APE tag lies", good + b"APETAGEX" + struct.pack("<IIII8x", 2000, _U32, _U32, 0)
    yield "ID3v1 of 255s", good + b"TAG" + b"\xff" * 125
    yield "sync words only", b"\xff\xfb" * 40_000
    yield "noise between frames", b"".join(bare[at : at + 417] + b"noise" for at in range(0, len(bare), 417))
    slow = sndfile(music(rate_hz=16_000), "MP3", rate_hz=16_000)
    yield "other rate behind", good + slow
    stereo = sndfile(np.stack([sound, sound], axis=1), "MP3")
    yield "stereo behind", bare + stereo[stereo.index(b"\xff\xfb", 500) :]


def _adts(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("aac", sound)
    for label, at, value in (
        ("rate 15", 2, good[2] & 0xC3 | 15 << 2),
        ("rate 13", 2, good[2] & 0xC3 | 13 << 2),
        ("channels 0", 3, good[3] & 0x3F),
        ("channels 7", 3, good[3] | 0xC0),
        ("frame of 8 kB", 4, 0xFF),
        ("frame of nothing", 4, 0),
        ("profile 0", 2, good[2] & 0x3F),
        ("with checksum", 1, good[1] & 0xFE),
    ):
        yield label, patched(good, at, bytes([value]))
    yield (
        "rate changes",
        good + encode("aac", sound).replace(good[:3], patched(good[:3], 2, bytes([good[2] ^ 4]))),
    )
    yield "headers only", good[:7] * 5_000


def _mp4(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("m4a", sound)
    at = {name: start + 8 for name, start, _ in mp4_boxes(good)}
    for name, start, _ in mp4_boxes(good):
        label = name.decode("latin-1").strip()
        for size in (0, 7, _U32):
            yield f"{label} of {size} bytes", patched(good, start, struct.pack(">I", size))
    for scale in (0, 1, _U32):
        yield f"time scale {scale}", patched(good, at[b"mdhd"] + 12, struct.pack(">I", scale))
    for duration in (0, 1, _U32):
        yield f"duration {duration}", patched(good, at[b"mdhd"] + 16, struct.pack(">I", duration))
    for name, offset in ((b"stsz", 8), (b"stco", 4), (b"stts", 4), (b"stsc", 4), (b"stsd", 4)):
        for count in (0, 2**31, _U32):
            yield (
                f"{name.decode()} counts {count}",
                patched(good, at[name] + offset, struct.pack(">I", count)),
            )
    yield "samples of 2 GB", patched(good, at[b"stsz"] + 4, struct.pack(">I", 2**31 - 1))
    yield "2^31 samples of a byte", patched(good, at[b"stsz"] + 4, struct.pack(">II", 1, 2**31))
    for offset in (0, 1, _U32):
        yield f"data at {offset}", patched(good, at[b"stco"] + 8, struct.pack(">I", offset))
    yield "stts repeats for ever", patched(good, at[b"stts"] + 8, b"\xff" * 4)
    yield "stts steps of nothing", patched(good, at[b"stts"] + 12, bytes(4))
    for channels in (0, 1024, _U16):
        yield f"{channels} channels", patched(good, at[b"mp4a"] + 16, struct.pack(">H", channels))
    for rate_hz in (0, 1, _U16):
        yield f"{rate_hz} Hz", patched(good, at[b"mp4a"] + 24, struct.pack(">H", rate_hz))
    for codec in (b"drms", b"zzzz", b"enca", b"mp4v", b"\0\0\0\0", b"samr", b"text"):
        label = codec.hex() if codec[0] == 0 else codec.decode()
        yield f"codec {label}", patched(good, at[b"mp4a"] - 4, codec)
    for label, config in {
        "1 Hz": b"\x17\x80\0\0\x88",
        "rate 13": b"\x16\x88",
        "type 31": b"\xff\xff",
    }.items():
        esds = good.index(b"\x05\x80\x80\x80", at[b"esds"]) + 5
        yield f"AAC {label}", patched(good, esds, config)
    yield "video", patched(good, at[b"hdlr"] + 8, b"vide")
    yield "no handler", patched(good, at[b"hdlr"] + 8, bytes(4))
    yield "data in another file", patched(good, at[b"url "], bytes(4))
    yield "edit list lies", patched(good, at[b"elst"] + 8, b"\xff" * 8)
    nested = b""
    for _ in range(3_000):
        nested = struct.pack(">I4s", 8 + len(nested), b"moov") + nested
    yield "moov in moov", good[:28] + nested + good[28:]
    yield "size of 64 bits", patched(good, 28, struct.pack(">I", 1)) + struct.pack(">Q", 2**63)


def _matroska(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    for format in ("mka", "webm"):
        good = encode(format, sound)
        found = {element: (start, body, end) for element, start, body, end in matroska_elements(good)}
        rate, channels, codec = found[0xB5], found[0x9F], found[0x86]
        width = rate[2] - rate[1]
        for rate_hz in (0.0, 1.0, -1.0, float("nan"), float("inf"), 1e30):
            packed = struct.pack(">d" if width == 8 else ">f", rate_hz)
            yield f"{format} {rate_hz} Hz", patched(good, rate[1], packed)
        for n in (0, 2, 255):
            size = channels[2] - channels[1]
            yield f"{format} {n} channels", patched(good, channels[1], n.to_bytes(size, "big"))
        yield f"{format} unknown codec", patched(good, codec[1], b"A_ZZZZ")
        yield f"{format} video codec", patched(good, codec[1], b"V_VP8\0")
        for element, label in (
            (0x18538067, "segment"),
            (0x1654AE6B, "tracks"),
            (0xAE, "track"),
            (0x1F43B675, "cluster"),
        ):
            start, body, _ = found[element]
            n = body - start - len(f"{element:x}") // 2
            for size in (0, 2 ** (7 * n) - 2, 2 ** (7 * n) - 1):
                yield (
                    f"{format} {label} of {size} bytes",
                    patched(good, body - n, (size | 1 << 7 * n).to_bytes(n, "big")),
                )


def _asf(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("wma", sound)
    properties = good.index(bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b"))
    entry = good.index(struct.pack("<HH", 0x161, 1), 30)
    for label, at in (("channels", 2), ("align", 12), ("bits", 14), ("extra size", 16)):
        for value in (0, 1024, _U16):
            yield f"{label} {value}", patched(good, entry + at, struct.pack("<H", value))
    for rate_hz in (0, 1, _U32):
        yield f"{rate_hz} Hz", patched(good, entry + 4, struct.pack("<I", rate_hz))
    for size in (0, 1, 2**62, _U64):
        yield f"header of {size} bytes", patched(good, 16, struct.pack("<Q", size))
        yield f"properties of {size} bytes", patched(good, properties + 16, struct.pack("<Q", size))
    yield "codec", patched(good, entry, b"\x09\x7f")
    yield "stream type", good.replace(bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b"), bytes(16))


def _tta(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("tta", sound)
    for label, at, width in (
        ("format", 4, 2),
        ("channels", 6, 2),
        ("bits", 8, 2),
        ("rate", 10, 4),
        ("length", 14, 4),
    ):
        for value in (0, 1, 255, 2 ** (8 * width) - 1):
            yield f"{label} {value}", patched(good, at, value.to_bytes(width, "little"))


def _wv(sound: np.ndarray) -> Iterator[tuple[str, bytes]]:
    good = encode("wv", sound)
    for label, at in (("block size", 4), ("total", 12), ("index", 16), ("samples", 20), ("flags", 24)):
        for value in (0, 1, 2**31, _U32):
            yield f"{label} {value}", patched(good, at, struct.pack("<I", value))


def _flipped(sound: np.ndarray, seed: int) -> Iterator[Case]:
    rng = np.random.default_rng(seed)
    for format, (suffix, _) in FORMATS.items():
        good = encode(format, sound)
        reach = boundaries(format, good)[-3]  # the last header that is not the middle or the end
        for number in range(_FLIPS):
            damaged = bytearray(good)
            for at in rng.integers(0, max(64, reach) if number % 2 else len(good), 8):
                damaged[at] ^= int(rng.integers(1, 256))
            yield content("flips", f"{format} {number}{suffix}", bytes(damaged))


_SUFFIXES = {_adts: ".aac", _mp4: ".m4a", _matroska: ".mka", _asf: ".wma"}
