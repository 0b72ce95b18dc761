# SPDX-License-Identifier: Apache-2.0
"""Reads glibc's ld.so.cache and adds libraries to it: bytes in, bytes out, no file touched.

glibc's loader searches by halving, so entries are sorted: names descending as `rank` orders them,
then flags descending; among equals the first one wins (elf/cache.c `compare`, elf/dl-cache.c
`search_cache`). Ours go before all others of their name and flags, those for glibc-hwcaps folders
included: a driver's library must fit the kernel's module, whatever the image brings along.

What is in the image's cache stays the bytes it is, so that adding 100 libraries to 3,000 takes
about 2 ms, a tenth of what reading and writing them all would take.
"""

from __future__ import annotations

from gpubind import ldformat
from gpubind.errors import DocumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FLAGS = {"x86-64": 0x0303, "i386": 0x0003, "aarch64": 0x0A03}
"""An entry's flags by architecture: 3 is ELF for libc6, see sysdeps/generic/ldconfig.h in glibc."""

# How `rank` writes letters. Lowest first: 0x80 to 0xff (char is signed on x86), the end, 1 to 3 as
# one (no name has them, and 256 codes must do), the others, a negative number, digits, a number.
_LETTERS = b"".join(
    (
        b"\x80\x81\x81\x81",  # 0 to 3
        bytes(range(0x82, 0xAE)),  # 4 to /
        bytes(range(0xF5, 0xFF)),  # 0 to 9
        bytes(range(0xAE, 0xF4)),  # : to 127
        bytes(range(0x80)),
    )
)
_DIGITS = bytes(48 if 48 <= c < 58 else 46 for c in range(256))
_NEGATIVE = b"\xf4"
_NUMBER = b"\xff"


class Entry:
    """A library in a cache: `name` is its SONAME, `path` where it lies, `flags` as in `FLAGS`."""

    __slots__ = ("flags", "name", "path")

    def __init__(self, name: bytes, path: bytes, flags: int) -> None:
        self.name = name
        self.path = path
        self.flags = flags

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entry):
            return NotImplemented
        return (self.name, self.path, self.flags) == (other.name, other.path, other.flags)

    def __hash__(self) -> int:
        return hash((self.name, self.path, self.flags))

    def __repr__(self) -> str:
        return f"Entry({self.name!r}, {self.path!r}, {self.flags:#06x})"


def read(cache: bytes) -> list[Entry]:
    """Give a cache's libraries in the order the loader sees them; none for an empty file.

    Raises DocumentError [LDCACHE-DAMAGED].
    """
    parts = ldformat.parse(cache)
    fields = ldformat.numbers(parts.table)
    names = ldformat.strings(parts.text, fields[1::6])
    paths = ldformat.strings(parts.text, fields[2::6])
    return list(map(Entry, names, paths, fields[0::6]))


def merge(cache: bytes, entries: Sequence[Entry], *, own_folders: Iterable[bytes] = ()) -> bytes:
    """Give `cache` with `entries` added, each before whatever else has its name and flags.

    An empty `cache` (there was no file) gives a new one. What an earlier run may have left is
    replaced: entries with the path of one of ours, or with the flags and name of one of ours in any
    folder of ours or of `own_folders`. So merging twice gives the same as merging once.
    Raises DocumentError: [LDCACHE-DAMAGED] for a cache, [LDCACHE-ENTRY] for an entry it can't hold.
    """
    ranked = _ranked(entries)
    ours = [entry for _, _, entry in ranked]
    parts = ldformat.parse(cache)
    stale = list(_stale(parts, ours, own_folders))
    known = _strings(parts, stale)
    parts.table = ldformat.woven(parts.table, ((row, row + 1, b"") for row in stale))
    end = parts.end([known[text] for text in _texts(ours) if text in known])
    rows, strings = _rows(ours, known, end)
    places = _places(parts, [item[:2] for item in ranked])
    inserted = zip(places, places, rows, strict=True)
    parts.table = ldformat.woven(parts.table, inserted)
    parts.text = parts.text[:end] + strings
    return ldformat.assembled(parts)


def rank(name: bytes) -> bytes:
    """Give the bytes that sort as glibc's _dl_cache_libcmp sorts names.

    A run of digits is a number (an int, which wraps) and above any letter, a letter a signed char.
    """
    name += b"\0"
    written = name.translate(_LETTERS)
    digits = name.translate(_DIGITS)
    start = digits.find(b"00")
    if start < 0:
        return written
    pieces: list[bytes] = []
    done = 0
    while start >= 0:
        end = digits.find(b".", start)
        pieces += (written[done:start], _number(name[start:end]))
        done = end
        start = digits.find(b"00", end)
    return b"".join([*pieces, written[done:]])


def _number(digits: bytes) -> bytes:
    """Write a number of more than one digit so that it sorts by value, also with single digits."""
    value = int(digits[-32:]) % 2**32  # 10**32 is a multiple of 2**32
    if value < 10:
        return (b"%d" % value).translate(_LETTERS)
    return (_NUMBER if value < 2**31 else _NEGATIVE) + value.to_bytes(4, "big")


def _ranked(entries: Iterable[Entry]) -> list[tuple[bytes, int, Entry]]:
    """Give rank, flags and entry for each of `entries`, sorted, without repetitions.

    Among entries of one name and flags, the one that came first stays first.
    """
    ranked: list[tuple[bytes, int, Entry]] = []
    for entry in dict.fromkeys(entries):
        texts = (entry.name, entry.path)
        sound = all(text and b"\0" not in text and len(text) < ldformat.PATH_MAX for text in texts)
        if not sound or not 0 <= entry.flags < 2**31:
            what = f"a library cache can't hold {entry}: a text empty, too long or with a NUL byte"
            raise DocumentError(f"{what}, or flags out of range", identifier="LDCACHE-ENTRY")
        ranked.append((rank(entry.name), entry.flags, entry))
    ranked.sort(key=lambda item: item[:2], reverse=True)
    return ranked


def _stale(
    parts: ldformat.Cache, ours: Sequence[Entry], own_folders: Iterable[bytes]
) -> Iterator[int]:
    """Give the rows that `ours` replace."""
    exact = {entry.path for entry in ours}
    folders = {path.rpartition(b"/")[0] for path in exact}
    folders.update(folder.rstrip(b"/") for folder in own_folders)
    likely = {(folder + b"/" + entry.name, entry.flags) for entry in ours for folder in folders}
    suspects = exact.union([path for path, _ in likely])
    fields = ldformat.numbers(parts.table)
    for row, path in enumerate(ldformat.strings(parts.text, fields[2::6])):
        if path in suspects and (path in exact or (path, fields[6 * row]) in likely):
            yield row


def _places(parts: ldformat.Cache, ranks: Iterable[tuple[bytes, int]]) -> list[int]:
    """Give for each of `ranks` (name's rank and flags, sorted) the row that it must precede."""
    fields = ldformat.numbers(parts.table)
    known: dict[int, tuple[bytes, int]] = {}
    places: list[int] = []
    low = 0
    for wanted in ranks:
        high = len(fields) // 6
        while low < high:
            middle = (low + high) // 2
            if middle not in known:
                (name,) = ldformat.strings(parts.text, (fields[6 * middle + 1],))
                known[middle] = (rank(name), fields[6 * middle])
            if known[middle] > wanted:
                low = middle + 1
            else:
                high = middle
        places.append(low)
    return places


def _strings(parts: ldformat.Cache, rows: Iterable[int]) -> dict[bytes, int]:
    """Give where the names and paths of `rows` stand, to be used again: else caches would grow."""
    fields = ldformat.numbers(parts.table)
    places = [fields[6 * row + field] for row in rows for field in (1, 2)]
    return dict(zip(ldformat.strings(parts.text, places), places, strict=True))


def _texts(ours: Iterable[Entry]) -> Iterator[bytes]:
    """Give the strings that `ours` need: a path holds its name if it ends with it."""
    for entry in ours:
        yield entry.path
        if not entry.path.endswith(entry.name):
            yield entry.name


def _rows(ours: Sequence[Entry], known: dict[bytes, int], end: int) -> tuple[list[bytes], bytes]:
    """Give the rows of `ours`, and the strings not `known` yet, which will stand at `end`."""
    places = dict(known)
    strings = bytearray()
    for text in _texts(ours):
        if text not in places:
            places[text] = end + len(strings)
            strings += text + b"\0"
    rows: list[bytes] = []
    for entry in ours:
        path = places[entry.path]
        tail = entry.path.endswith(entry.name)
        name = path + len(entry.path) - len(entry.name) if tail else places[entry.name]
        rows.append(ldformat.ENTRY.pack(entry.flags, name, path, 0, 0))
    return rows, bytes(strings)
