# SPDX-License-Identifier: Apache-2.0
"""Caches as glibc's ldconfig of several ages writes them, made here byte by byte for the tests."""

import struct
from collections.abc import Sequence

from gpubind.ldcache import FLAGS, Entry

Row = tuple[bytes, bytes, int, int]  # name, path, flags, hwcap

X86 = FLAGS["x86-64"]
I386 = FLAGS["i386"]
HWCAP_EXTENSION = 1 << 62
LIB = b"/usr/lib/x86_64-linux-gnu/"
LIB32 = b"/usr/lib/i386-linux-gnu/"

IMAGE: list[Row] = [  # in a cache's order
    (b"libz.so.1", LIB + b"libz.so.1", X86, 0),
    (b"libm.so.6", LIB + b"glibc-hwcaps/x86-64-v3/libm.so.6", X86, HWCAP_EXTENSION | 1),
    (b"libm.so.6", LIB + b"libm.so.6", X86, 0),
    (b"libm.so.6", LIB32 + b"libm.so.6", I386, 0),
    (b"libfoo.so.10", LIB + b"libfoo.so.10", X86, 0),
    (b"libfoo.so.9", LIB + b"libfoo.so.9", X86, 0),
    (b"libc.so.6", LIB + b"libc.so.6", X86, 0),
]
HWCAPS = (b"x86-64-v2", b"x86-64-v3")
CUDA = Entry(b"libcuda.so.1", LIB + b"libcuda.so.1", X86)
CUDA32 = Entry(b"libcuda.so.1", LIB32 + b"libcuda.so.1", I386)
GLCORE = Entry(b"libnvidia-glcore.so.550.54.15", LIB + b"libnvidia-glcore.so.550.54.15", X86)
OURS = (CUDA32, CUDA, GLCORE)


def new(rows: Sequence[Row], hwcaps: Sequence[bytes] = HWCAPS, *, flags: int = 2) -> bytes:
    """Write the new format; without `flags` as glibc before 2.33 did, which had no extension."""
    start = 48 + 24 * len(rows)
    strings = b""
    table = b""
    for name, path, kind, hwcap in rows:
        table += struct.pack(
            "<iIIIQ", kind, start + len(strings), start + len(strings + name) + 1, 0, hwcap
        )
        strings += name + b"\0" + path + b"\0"
    places = []
    for name in hwcaps:
        places.append(start + len(strings))
        strings += name + b"\0"
    end = -(-(start + len(strings)) // 4) * 4 if flags else 0
    header = b"glibc-ld.so.cache1.1" + struct.pack(
        "<IIIIIII", len(rows), len(strings), flags, end, 0, 0, 0
    )
    if not flags:
        return header + table + strings
    body = (header + table + strings).ljust(end, b"\0")
    body += struct.pack("<II", 0xEAA42174, 2)
    body += struct.pack("<IIII", 0, 0, end + 40 + 4 * len(places), 6)
    body += struct.pack("<IIII", 1, 0, end + 40, 4 * len(places))
    return body + struct.pack(f"<{len(places)}I", *places) + b"a test"


def old(rows: Sequence[Row]) -> bytes:
    """Write the format of glibc 2.1."""
    strings = b""
    table = b""
    for name, path, kind, _ in rows:
        table += struct.pack("<iII", kind, len(strings), len(strings + name) + 1)
        strings += name + b"\0" + path + b"\0"
    return b"ld.so-1.7.0\0" + struct.pack("<I", len(rows)) + table + strings


def both(rows: Sequence[Row]) -> bytes:
    """Write what ldconfig before 2.32 wrote: an even number of old entries, then the new format."""
    inner = new(rows, (), flags=0)
    table = b"".join(inner[at : at + 12] for at in range(48, 48 + 24 * len(rows), 24))
    table += table[-12:] * (len(rows) % 2)
    return b"ld.so-1.7.0\0" + struct.pack("<I", len(table) // 12) + table + inner


def entries(rows: Sequence[Row]) -> list[Entry]:
    return [Entry(name, path, flags) for name, path, flags, _ in rows]


def old_entries(cache: bytes) -> list[Entry]:
    """Read the old table as glibc 2.1 would: strings begin after its entries."""
    count = int.from_bytes(cache[12:16], "little")
    texts = cache[16 + 12 * count :]
    rows = struct.iter_unpack("<iII", cache[16 : 16 + 12 * count])
    return [Entry(text_at(texts, name), text_at(texts, path), flags) for flags, name, path in rows]


def text_at(texts: bytes, at: int) -> bytes:
    return texts[at : texts.index(b"\0", at)]


def hwcaps_and_generator(cache: bytes) -> tuple[list[bytes], bytes]:
    """Read the extension as glibc does."""
    (start,) = struct.unpack_from("<I", cache, 32)
    assert start % 4 == 0
    magic, count = struct.unpack_from("<II", cache, start)
    assert magic == 0xEAA42174
    found = {}
    for tag, _, offset, size in struct.iter_unpack("<IIII", cache[start + 8 :][: 16 * count]):
        found[tag] = (offset, size)
    offset, size = found[1]
    assert offset % 4 == 0
    places = struct.unpack_from(f"<{size // 4}I", cache, offset)
    return [text_at(cache, at) for at in places], cache[found[0][0] :][: found[0][1]]
