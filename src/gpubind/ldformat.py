# SPDX-License-Identifier: Apache-2.0
"""glibc's ld.so.cache taken apart, checked, and put together: the bytes below `gpubind.ldcache`.

The format as glibc's sysdeps/generic/dl-cache.h has it, little endian, sizes in bytes:

    header 48    magic and version 20, count u32, size of the strings u32, flags u8 (2 for little
                 endian, 0 from a glibc before 2.33), 3 unused, extension's offset u32, 12 unused
    entries 24   flags i32, offset of the name u32, of the path u32, osversion u32, hwcap u64
    strings      each ends with NUL; a name may be the tail of a path
    extension    at a multiple of 4: magic u32, count u32; for each section tag, flags, offset, size
                 (u32 each); their data. Section 1 is the list of glibc-hwcaps folders: offsets u32

Offsets of strings count from the header, those of the extension from the start of the file. Before
glibc 2.32 ldconfig put an old table first (header 16, entries 12: flags, name, path) and the new
format in front of the old one's strings; old offsets count from the end of the old entries.

A cache belongs to an image and may be hostile: each offset is checked before it is used, no string
is longer than a path may be, and the work is bounded by the file's size. Entries stay raw bytes.
"""

from __future__ import annotations

import struct
import sys

from gpubind.errors import DocumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LIMIT = 16 * 1024 * 1024  # bytes of a cache; a system with 3,000 libraries has 0.3 MB
MOST_ENTRIES = 2**15
PATH_MAX = 4096  # what the kernel allows, see path_resolution(7)

ENTRY = struct.Struct("<IIIIQ")

_MAGIC = b"glibc-ld.so.cache1.1"
_OLD_MAGIC = b"ld.so-1.7.0"
_OLD_HEADER = 16
_OLD_ENTRY = 12
_HEADER = 48
_EXTENSION_MAGIC = 0xEAA42174
_HWCAPS = 1
_MOST_SECTIONS = 64  # glibc knows two
_ONES = ENTRY.pack(0, 1, 1, 0, 0)  # a one in each field that is an offset
_OLD_ONES = struct.pack("<III", 0, 1, 1)


class Cache:
    """A cache in parts; all offsets of strings count from the start of `text`.

    `table` is the entries, `base` the place where strings begin, `header` 48 bytes; `old` is the
    old table's entries or None without one; `sections` are the extension's: tag, flags, data.
    """

    __slots__ = ("base", "header", "old", "sections", "table", "text")

    def __init__(self, text: bytes, base: int, table: bytes) -> None:
        self.text = text
        self.base = base
        self.table = table
        self.header = _MAGIC + bytes(8) + b"\2" + bytes(19)  # as of a cache made anew
        self.old: bytes | None = None
        self.sections: list[tuple[int, int, bytes]] = []

    def end(self, more: Iterable[int] = ()) -> int:
        """Give the place in `text` where the last string in use ends, those at `more` included.

        Raises DocumentError where an offset does not lead to a string.
        """
        fields = numbers(self.table)
        old = numbers(self.old or b"")
        hwcaps = [numbers(data) for tag, _, data in self.sections if tag == _HWCAPS]
        parts = (fields[1::6], fields[2::6], old[1::3], old[2::3], *hwcaps, [*more])
        parts = tuple(part for part in parts if len(part))
        if not parts:
            return self.base
        end = self.text.find(b"\0", max(map(max, parts))) + 1
        if min(map(min, parts)) < self.base or not end:
            raise _damaged("a name does not lie among the names")
        return end


def numbers(data: bytes) -> Sequence[int]:
    """Give the 32-bit numbers in `data`: six for each entry of a table.

    A view where the machine has the file's byte order: nothing is copied.
    """
    if sys.byteorder == "little":
        return memoryview(data).cast("I")
    return struct.unpack(f"<{len(data) // 4}I", data)


def strings(text: bytes, offsets: Iterable[int]) -> Iterator[bytes]:
    """Give the strings at `offsets`, which were checked; none may be longer than a path may be."""
    find = text.index
    try:
        for at in offsets:
            yield text[at : find(0, at, at + PATH_MAX)]
    except ValueError:
        raise _damaged(f"a name is longer than {PATH_MAX - 1} bytes") from None


def parse(cache: bytes) -> Cache:
    """Take a cache apart and check every offset in it; an empty file has no entries.

    Raises DocumentError [LDCACHE-DAMAGED].
    """
    if not cache:
        return Cache(b"", 0, b"")
    if len(cache) > LIMIT:
        raise _damaged(f"it is larger than {LIMIT} bytes")
    parts = _parse_old(cache) if cache.startswith(_OLD_MAGIC) else _parse_new(cache, 0)
    parts.end()
    return parts


def _damaged(what: str) -> DocumentError:
    return DocumentError(f"the library cache is damaged: {what}", identifier="LDCACHE-DAMAGED")


def _table_end(cache: bytes, start: int, count: int, size: int) -> int:
    """Give the end of a table of `count` entries of `size` bytes that begins at `start`."""
    end = start + count * size
    if count > MOST_ENTRIES or end > len(cache):
        raise _damaged(f"{count} entries do not fit")
    return end


def _parse_old(cache: bytes) -> Cache:
    """Take a cache apart that starts with the old table."""
    count = int.from_bytes(cache[12:_OLD_HEADER], "little")
    end = _table_end(cache, _OLD_HEADER, count, _OLD_ENTRY)
    old = cache[_OLD_HEADER:end]
    fields = numbers(old)
    start = -(-end // 8) * 8
    if cache.startswith(_MAGIC, start):
        parts = _parse_new(cache, start)
        # An ldconfig that meets hwcap folders leaves garbage in old offsets. No glibc since 2.2
        # reads them where there is a new table, so an unsound old table is left out, not refused.
        offsets = [*fields[1::3], *fields[2::3]]
        sound = not offsets or (parts.base <= min(offsets) and max(offsets) < len(parts.text))
        parts.old = old if sound and start == end else None
        return parts
    rows = zip(fields[0::3], fields[1::3], fields[2::3], strict=True)
    table = b"".join([ENTRY.pack(flags, name, path, 0, 0) for flags, name, path in rows])
    parts = Cache(cache[end:], 0, table)
    parts.old = old + old[-_OLD_ENTRY:] * (count % 2)  # the new header lies at a multiple of 8
    return parts


def _parse_new(cache: bytes, start: int) -> Cache:
    """Take the new format apart that begins at `start`."""
    header = cache[start : start + _HEADER]
    if not header.startswith(_MAGIC):
        raise _damaged("it does not start as one")
    if len(header) < _HEADER:
        raise _damaged("the header is cut off")
    if header[28] & 3 not in {0, 2}:
        raise _damaged("it is of the other byte order")
    count, size = struct.unpack_from("<II", header, len(_MAGIC))
    table_end = _table_end(cache, start + _HEADER, count, ENTRY.size)
    end = table_end + size
    if end > len(cache):
        raise _damaged("the names do not fit")
    parts = Cache(cache[start:end], table_end - start, cache[start + _HEADER : table_end])
    parts.header = header
    extension = int.from_bytes(header[32:36], "little")
    if extension:
        parts.sections = _sections(cache, extension)
    return parts


def _sections(cache: bytes, start: int) -> list[tuple[int, int, bytes]]:
    """Give the extension's sections: tag, flags, data."""
    if start % 4 or start + 8 > len(cache):
        raise _damaged("the extension does not fit")
    magic, count = struct.unpack_from("<II", cache, start)
    if magic != _EXTENSION_MAGIC:
        raise _damaged("the extension does not start as one")
    if count > _MOST_SECTIONS or start + 8 + 16 * count > len(cache):
        raise _damaged("the extension's sections do not fit")
    rows = list(struct.iter_unpack("<IIII", cache[start + 8 : start + 8 + 16 * count]))
    if any(offset + size > len(cache) for _, _, offset, size in rows):
        raise _damaged("a section does not fit")
    if any(tag == _HWCAPS and size % 4 for tag, _, _, size in rows):
        raise _damaged("the list of glibc-hwcaps folders is cut off")
    return [(tag, flags, cache[offset : offset + size]) for tag, flags, offset, size in rows]


def woven(table: bytes, changes: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Give `table` with each change made: first row, row after the last, what stands there instead.

    Changes come in the order of their rows; a change whose two rows are one only inserts.
    """
    pieces: list[bytes] = []
    done = 0
    for start, end, rows in changes:
        pieces += (table[done * ENTRY.size : start * ENTRY.size], rows)
        done = end
    return b"".join([*pieces, table[done * ENTRY.size :]])


def assembled(parts: Cache) -> bytes:
    """Give the file; all offsets of strings move by what the table has grown since `parse`."""
    count = len(parts.table) // ENTRY.size
    by = _HEADER + len(parts.table) - parts.base
    names = parts.text[parts.base :]
    old = b""
    if parts.old is not None:
        old = _OLD_MAGIC + b"\0" + (len(parts.old) // _OLD_ENTRY).to_bytes(4, "little")
        old += _moved(parts.old, _OLD_ONES, by)
    end = len(old) + _HEADER + len(parts.table) + len(names)
    padding = bytes(-end % 4) if parts.sections else b""
    extension = _extension(parts.sections, end + len(padding), by)
    offset = end + len(padding) if extension else 0
    header = _MAGIC + struct.pack("<II", count, len(names))
    header += parts.header[28:32] + offset.to_bytes(4, "little") + parts.header[36:]
    table = _moved(parts.table, _ONES, by)
    return b"".join((old, header, table, names, padding, extension))


def _moved(table: bytes, ones: bytes, by: int) -> bytes:
    """Give `table` with each offset moved: one sum of two long numbers instead of a loop.

    The offsets were checked and stay in bounds, so no field carries over into the next.
    """
    ones *= len(table) // len(ones)
    total = int.from_bytes(table, "little") + by * int.from_bytes(ones, "little")
    return total.to_bytes(len(table), "little")


def _extension(sections: Sequence[tuple[int, int, bytes]], start: int, by: int) -> bytes:
    """Give the extension as it stands at `start` of the file, offsets of strings moved `by`."""
    rows: list[bytes] = []
    written = bytearray()
    start += 8 + 16 * len(sections)
    for tag, flags, data in sections:
        if tag == _HWCAPS:
            written += bytes(-len(written) % 4)
        rows.append(struct.pack("<IIII", tag, flags, start + len(written), len(data)))
        written += _moved(data, b"\1\0\0\0", by) if tag == _HWCAPS else data
    if not rows:
        return b""
    return struct.pack("<II", _EXTENSION_MAGIC, len(rows)) + b"".join(rows) + bytes(written)
