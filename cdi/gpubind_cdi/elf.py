# SPDX-License-Identifier: Apache-2.0
"""A shared library's machine and SONAME, read from its ELF file.

Reads the header, the program headers and the dynamic section, by their file offsets, and stops:
a few hundred bytes of a library of any size, and never more than MAX_SEGMENTS, MAX_DYNAMIC and
MAX_NAME whatever the file says of itself. Layouts follow elf(5). Why not a package:
docs/decisions/0002-elf-reader.md.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

X86_64, I386, AARCH64 = "x86-64", "i386", "aarch64"

# (e_machine, bits): a 32-bit file for a 64-bit machine is x32 or ILP32, which no driver has.
MACHINES = {(62, 64): X86_64, (3, 32): I386, (183, 64): AARCH64}

MAX_SEGMENTS = 256
MAX_DYNAMIC = 64 << 10  # bytes; real libraries have some 500
MAX_NAME = 255  # a SONAME is a file's name

_ET_DYN = 3
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_STRTAB, _DT_SONAME = 0, 5, 14


class ElfError(ValueError):
    """The file is not an ELF file, or is cut off or wrong where it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """What was asked of the file; `machine` is x86-64, i386, aarch64, or empty for another.

    `soname` is empty where the file has none.
    """

    machine: str
    soname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def read(fd: int) -> Elf:
    """Give machine and SONAME of the shared library open as `fd`. Raises ElfError, OSError."""
    ident = _part(fd, 0, 16)
    if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise ElfError("not an ELF file")
    bits = 32 * ident[4]
    order = "<" if ident[5] == 1 else ">"
    words = f"{order}HHI{'QQQ' if bits == 64 else 'III'}IHHH"
    kind, machine, _, _, table, _, _, _, entry, count = struct.unpack(
        words, _part(fd, 16, struct.calcsize(words))
    )
    if kind != _ET_DYN:
        raise ElfError("not a shared library")
    segments = _segments(fd, table, entry, count, order, bits)
    known = MACHINES.get((machine, bits), "") if order == "<" else ""
    return Elf(machine=known, soname=_soname(fd, segments, order, bits))


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
