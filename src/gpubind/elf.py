# SPDX-License-Identifier: Apache-2.0
"""A shared library's machine, SONAME and notes, read from its ELF file.

Reads the headers, the dynamic section and one note, by their file offsets, and stops: a few
hundred bytes of a library of any size, and never more than the limits below, whatever the file
says of itself. Layouts follow elf(5). Why not a package: docs/decisions/0002-elf-reader.md.
"""

from __future__ import annotations

import os
import struct

X86_64, I386, AARCH64 = "x86-64", "i386", "aarch64"

# (e_machine, bits): a 32-bit file for a 64-bit machine is x32 or ILP32, which no driver has.
MACHINES = {(62, 64): X86_64, (3, 32): I386, (183, 64): AARCH64}

MAX_SEGMENTS = 256
MAX_DYNAMIC = 64 << 10  # bytes; real libraries have some 500
MAX_NAME = 255  # a SONAME is a file's name

MAX_SECTIONS = 1024
MAX_NAMES = 64 << 10
MAX_NOTE = 64 << 10

_ET_DYN = 3
_SHT_NOTE = 7
_NOTE = 12  # sizes of name and text, and the type
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_STRTAB, _DT_SONAME = 0, 5, 14


class ElfError(ValueError):
    """The file is not an ELF file, or is cut off or wrong where it was read."""


class Elf:
    """What was asked of the file; `machine` is x86-64, i386, aarch64, or empty for another.

    `soname` is empty where the file has none.
    """

    __slots__ = ("machine", "soname")

    def __init__(self, *, machine: str, soname: str) -> None:
        self.machine = machine
        self.soname = soname

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Elf) and (self.machine, self.soname) == (
            other.machine,
            other.soname,
        )

    def __hash__(self) -> int:
        return hash((self.machine, self.soname))

    def __repr__(self) -> str:
        return f"Elf(machine={self.machine!r}, soname={self.soname!r})"


class _Segment:
    __slots__ = ("address", "kind", "offset", "size")

    def __init__(self, *, kind: int, offset: int, address: int, size: int) -> None:
        self.kind = kind
        self.offset = offset
        self.address = address
        self.size = size


class _Header:
    """Of the ELF header what is needed further on; `order` and `bits` rule every layout."""

    __slots__ = ("bits", "machine", "order", "sections", "segments", "strings")

    def __init__(self, fd: int) -> None:
        ident = _part(fd, 0, 16)
        if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise ElfError("not an ELF file")
        self.bits = 32 * ident[4]
        self.order = "<" if ident[5] == 1 else ">"
        form = struct.Struct(f"{self.order}HHI{'QQQ' if self.bits == 64 else 'III'}IHHHHHH")
        facts = form.unpack(_part(fd, 16, form.size))
        if facts[0] != _ET_DYN:
            raise ElfError("not a shared library")
        self.machine = MACHINES.get((facts[1], self.bits), "") if self.order == "<" else ""
        self.segments = (facts[4], facts[8], facts[9])
        self.sections = (facts[5], facts[10], facts[11])
        self.strings = facts[12]


def note(fd: int, section: str, owner: bytes) -> bytes | None:
    """Give the description of the first note by `owner` in a section, None where there is none.

    Raises ElfError for a file that is broken on the way there, OSError.
    """
    header = _Header(fd)
    found = _section(fd, header, section.encode())
    if found is None:
        return None
    offset, size, align = found
    data = _part(fd, offset, size)
    step = max(align, 4)
    if len(data) < _NOTE:
        raise ElfError(f"the section {section} is too small")
    name_size, text_size, _ = struct.unpack_from(header.order + "III", data)
    start = -(-(_NOTE + name_size) // step) * step
    if start + text_size > len(data):
        raise ElfError(f"the note in {section} is longer than its section")
    if data[_NOTE : _NOTE + name_size].rstrip(b"\0") != owner:
        return None
    return data[start : start + text_size]


def _section(fd: int, header: _Header, wanted: bytes) -> tuple[int, int, int] | None:
    """Give offset, size and alignment of the note section of that name."""
    table, entry, count = header.sections
    wide = header.bits == 64
    form = struct.Struct(header.order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
    if not count:
        return None
    if entry < form.size or count > MAX_SECTIONS or header.strings >= count:
        raise ElfError("the section headers are wrong")
    data = _part(fd, table, entry * count)
    rows = [form.unpack_from(data, entry * index) for index in range(count)]
    names = rows[header.strings]
    if names[5] > MAX_NAMES:
        raise ElfError("the section names are too large")
    text = _part(fd, names[4], names[5])
    for row in rows:
        if row[1] == _SHT_NOTE and text[row[0] :].partition(b"\0")[0] == wanted:
            if row[5] > MAX_NOTE:
                raise ElfError("a note is too large")
            return row[4], row[5], row[8]
    return None


def read(fd: int) -> Elf:
    """Give machine and SONAME of the shared library open as `fd`. Raises ElfError, OSError."""
    header = _Header(fd)
    segments = _segments(fd, *header.segments, header.order, header.bits)
    return Elf(machine=header.machine, soname=_soname(fd, segments, header.order, header.bits))


def _segments(
    fd: int, table: int, entry: int, count: int, order: str, bits: int
) -> tuple[_Segment, ...]:
    form = struct.Struct(order + ("IIQQQQ" if bits == 64 else "IIIII"))
    if entry < form.size or count > MAX_SEGMENTS:
        raise ElfError("the program headers are wrong")
    data = _part(fd, table, entry * count)
    rows = [form.unpack_from(data, entry * index) for index in range(count)]
    if bits == 64:
        return tuple(
            _Segment(kind=kind, offset=offset, address=address, size=size)
            for kind, _, offset, address, _, size in rows
        )
    return tuple(
        _Segment(kind=kind, offset=offset, address=address, size=size)
        for kind, offset, address, _, size in rows
    )


def _soname(fd: int, segments: tuple[_Segment, ...], order: str, bits: int) -> str:
    dynamic = next((segment for segment in segments if segment.kind == _PT_DYNAMIC), None)
    if dynamic is None:
        return ""
    if dynamic.size > MAX_DYNAMIC:
        raise ElfError("the dynamic section is too large")
    form = struct.Struct(order + ("QQ" if bits == 64 else "II"))
    data = _part(fd, dynamic.offset, dynamic.size - dynamic.size % form.size)
    facts: dict[int, int] = {}
    for tag, value in form.iter_unpack(data):
        if tag == _DT_NULL:
            break
        facts.setdefault(tag, value)
    if _DT_SONAME not in facts:
        return ""
    if _DT_STRTAB not in facts:
        raise ElfError("the dynamic section has no string table")
    return _name(fd, _offset(segments, facts[_DT_STRTAB]) + facts[_DT_SONAME])


def _offset(segments: tuple[_Segment, ...], address: int) -> int:
    """Give the place in the file of an address in memory."""
    for segment in segments:
        if segment.kind == _PT_LOAD and 0 <= address - segment.address < segment.size:
            return segment.offset + address - segment.address
    raise ElfError("an address lies outside the file")


def _name(fd: int, offset: int) -> str:
    text, end, _ = _pread(fd, offset, MAX_NAME + 1).partition(b"\0")
    if not end:
        raise ElfError("the SONAME has no end")
    name = text.decode("ascii", "replace")
    if not name.isascii() or not name.isprintable() or "/" in name or name in (".", ".."):
        raise ElfError("the SONAME is no file name")
    return name


def _part(fd: int, offset: int, size: int) -> bytes:
    data = _pread(fd, offset, size)
    if len(data) < size:
        raise ElfError("the file is cut off")
    return data


def _pread(fd: int, offset: int, size: int) -> bytes:
    if offset >= 1 << 62:
        raise ElfError("an offset lies outside the file")
    return os.pread(fd, size, offset)
