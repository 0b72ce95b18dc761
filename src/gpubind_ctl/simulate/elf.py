# SPDX-License-Identifier: Apache-2.0
"""Small but real ELF files, made by struct alone: shared libraries and static programs.

A library has what a loader, ldconfig and ELF readers look for: a dynamic section with its SONAME,
what it needs and one exported object, `gpubind_simulated`, whose text names the file. A program
writes one text to its standard output and ends with status 0; it needs no libraries, so it runs in
any container of its machine.

Layouts follow elf(5) and the psABI supplements of x86-64, i386 and AArch64.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum

SYMBOL = "gpubind_simulated"

_ET_EXEC, _ET_DYN = 2, 3
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_PF_X, _PF_W, _PF_R = 1, 2, 4
_SHT_PROGBITS, _SHT_STRTAB, _SHT_HASH, _SHT_DYNAMIC, _SHT_DYNSYM = 1, 3, 5, 6, 11
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB = 1, 4, 5, 6
_DT_STRSZ, _DT_SYMENT, _DT_SONAME = 10, 11, 14
_GLOBAL_OBJECT = 1 << 4 | 1  # STB_GLOBAL, STT_OBJECT
_PROGRAM_BASE = 0x400000  # where static programs of both machines are linked by custom


class Machine(StrEnum):
    """A machine that files can be made for, by the name the sidecar uses for it."""

    X86_64 = "x86-64"
    I386 = "i386"
    AARCH64 = "aarch64"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Class:
    """One ELF class: machine is e_machine, page the largest page size of the machine."""

    machine: int
    bits: int
    page: int

    @property
    def word(self) -> str:
        return "Q" if self.bits == 64 else "I"

    @property
    def header_size(self) -> int:
        return 64 if self.bits == 64 else 52

    @property
    def segment_size(self) -> int:
        return 56 if self.bits == 64 else 32

    def symbol(self, name: int, value: int, size: int, info: int, section: int) -> bytes:
        if self.bits == 64:
            return struct.pack("<IBBHQQ", name, info, 0, section, value, size)
        return struct.pack("<IIIBBH", name, value, size, info, 0, section)

    def segment(self, kind: int, flags: int, offset: int, base: int, size: int, page: int) -> bytes:
        address = base + offset
        if self.bits == 64:
            return struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, size, size, page)
        return struct.pack("<IIIIIIII", kind, offset, address, address, size, size, flags, page)

    def dynamic(self, entries: list[tuple[int, int]]) -> bytes:
        form = f"<{self.word}{self.word}"
        return b"".join(struct.pack(form, tag, value) for tag, value in [*entries, (0, 0)])


_CLASSES = {
    Machine.X86_64: _Class(machine=62, bits=64, page=0x1000),
    Machine.I386: _Class(machine=3, bits=32, page=0x1000),
    Machine.AARCH64: _Class(machine=183, bits=64, page=0x10000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A row of the section table, before its name has a place; base is address minus offset."""

    name: str
    kind: int
    flags: int
    offset: int
    size: int
    base: int = 0
    link: int = 0
    info: int = 0
    align: int = 1
    entry: int = 0


def library(machine: Machine, soname: str, text: str, needed: tuple[str, ...] = ()) -> bytes:
    """Give a shared library with `soname` that needs `needed`; its one symbol holds `text`."""
    form = _CLASSES[machine]
    value = text.encode() + b"\0"
    strings, places = _strings((soname, SYMBOL, *needed))
    symbol_size = 24 if form.bits == 64 else 16
    at = _places(
        form.header_size + 4 * form.segment_size,
        (
            ("hash", 24),
            ("symbols", 2 * symbol_size),
            ("strings", len(strings)),
            ("text", len(value)),
        ),
    )
    dynamic_at = _aligned(at["text"] + len(value))
    symbols = form.symbol(0, 0, 0, 0, 0)
    symbols += form.symbol(places[SYMBOL], at["text"], len(value), _GLOBAL_OBJECT, 4)
    dynamic = form.dynamic(
        [
            *((_DT_NEEDED, places[name]) for name in needed),
            (_DT_SONAME, places[soname]),
            (_DT_HASH, at["hash"]),
            (_DT_STRTAB, at["strings"]),
            (_DT_SYMTAB, at["symbols"]),
            (_DT_STRSZ, len(strings)),
            (_DT_SYMENT, symbol_size),
        ]
    )
    # glibc before 2.35 writes to the dynamic section, so it lies in a writable segment of its own,
    # one page up: the same page of the file is mapped twice.
    segments = (
        form.segment(_PT_LOAD, _PF_R, 0, 0, at["text"] + len(value), form.page)
        + form.segment(_PT_LOAD, _PF_R | _PF_W, dynamic_at, form.page, len(dynamic), form.page)
        + form.segment(_PT_DYNAMIC, _PF_R | _PF_W, dynamic_at, form.page, len(dynamic), 8)
        + form.segment(_PT_GNU_STACK, _PF_R | _PF_W, 0, 0, 0, 16)
    )
    # one bucket, two symbols: the bucket starts at symbol 1, its chain ends there
    hashes = struct.pack("<6I", 1, 2, 1, 0, 0, 0)
    pieces = (
        (form.header_size, segments),
        (at["hash"], hashes),
        (at["symbols"], symbols),
        (at["strings"], strings),
        (at["text"], value),
        (dynamic_at, dynamic),
    )
    load = _SHF_ALLOC
    sections = (
        _Section(
            name=".hash",
            kind=_SHT_HASH,
            flags=load,
            offset=at["hash"],
            size=24,
            link=2,
            align=8,
            entry=4,
        ),
        _Section(
            name=".dynsym",
            kind=_SHT_DYNSYM,
            flags=load,
            offset=at["symbols"],
            size=len(symbols),
            link=3,
            info=1,
            align=8,
            entry=symbol_size,
        ),
        _Section(
            name=".dynstr", kind=_SHT_STRTAB, flags=load, offset=at["strings"], size=len(strings)
        ),
        _Section(
            name=".rodata", kind=_SHT_PROGBITS, flags=load, offset=at["text"], size=len(value)
        ),
        _Section(
            name=".dynamic",
            kind=_SHT_DYNAMIC,
            flags=load | _SHF_WRITE,
            offset=dynamic_at,
            size=len(dynamic),
            base=form.page,
            link=3,
            align=8,
            entry=form.bits // 4,
        ),
    )
    return _file(form, _ET_DYN, 0, 4, pieces, sections)


def program(machine: Machine, text: str) -> bytes:
    """Give a static program that writes `text` (less than 64 KiB) to its output and ends well."""
    form = _CLASSES[machine]
    value = text.encode()
    code = _CODES[machine](len(value))
    code_at = _aligned(form.header_size + 2 * form.segment_size)
    size = len(code) + len(value)
    segments = form.segment(
        _PT_LOAD, _PF_R | _PF_X, 0, _PROGRAM_BASE, code_at + size, form.page
    ) + form.segment(_PT_GNU_STACK, _PF_R | _PF_W, 0, 0, 0, 16)
    sections = (
        _Section(
            name=".text",
            kind=_SHT_PROGBITS,
            flags=_SHF_ALLOC | _SHF_EXECINSTR,
            offset=code_at,
            size=size,
            base=_PROGRAM_BASE,
            align=16,
        ),
    )
    pieces = ((form.header_size, segments), (code_at, code + value))
    return _file(form, _ET_EXEC, _PROGRAM_BASE + code_at, 2, pieces, sections)


def _x86_64(size: int) -> bytes:
    """Give write(1, text, size); exit(0), the text following the code."""
    end = b"\x0f\x05" + b"\xb8\x3c\0\0\0" + b"\x31\xff" + b"\x0f\x05"  # syscall; exit(0)
    length = b"\xba" + struct.pack("<I", size)  # mov edx, size
    skip = len(length) + len(end)
    text = b"\x48\x8d\x35" + struct.pack("<i", skip)  # lea rsi, [rip + skip]
    return b"\xb8\x01\0\0\0" + b"\xbf\x01\0\0\0" + text + length + end


def _aarch64(size: int) -> bytes:
    """Give write(1, text, size); exit(0), the text following the code's eight instructions."""

    def move(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register  # movz

    supervisor_call, distance = 0xD4000001, 7 * 4  # from adr, the second one, to the end
    adr = 0x10000000 | (distance & 3) << 29 | (distance >> 2) << 5 | 1
    return struct.pack(
        "<8I",
        move(0, 1),
        adr,
        move(2, size),
        move(8, 64),  # write
        supervisor_call,
        move(0, 0),
        move(8, 93),  # exit
        supervisor_call,
    )


_CODES = {Machine.X86_64: _x86_64, Machine.AARCH64: _aarch64}


def _file(
    form: _Class,
    kind: int,
    entry: int,
    segments: int,
    pieces: tuple[tuple[int, bytes], ...],
    sections: tuple[_Section, ...],
) -> bytes:
    """Give the whole file: header, pieces at their offsets, section names and section table."""
    names, places = _strings((*(section.name for section in sections), ".shstrtab"))
    names_at = max(offset + len(data) for offset, data in pieces)
    strings = _Section(
        name=".shstrtab", kind=_SHT_STRTAB, flags=0, offset=names_at, size=len(names)
    )
    rows = [bytes(64 if form.bits == 64 else 40)]
    rows += [_row(form, section, places[section.name]) for section in (*sections, strings)]
    table_at = _aligned(names_at + len(names))
    word = form.word
    header = struct.pack(
        f"<4s5B7xHHI{word}{word}{word}IHHHHHH",
        *(b"\x7fELF", form.bits // 32, 1, 1, 0, 0),  # class, little endian, version, System V ABI
        *(kind, form.machine, 1, entry, form.header_size, table_at, 0),
        *(form.header_size, form.segment_size, segments, len(rows[0]), len(rows), len(rows) - 1),
    )
    image = bytearray(table_at)
    for offset, data in ((0, header), *pieces, (names_at, names)):
        image[offset : offset + len(data)] = data
    return bytes(image) + b"".join(rows)


def _row(form: _Class, section: _Section, name: int) -> bytes:
    word = form.word
    address = section.base + section.offset if section.flags & _SHF_ALLOC else 0
    return struct.pack(
        f"<II{word}{word}{word}{word}II{word}{word}",
        *(name, section.kind, section.flags, address, section.offset, section.size),
        *(section.link, section.info, section.align, section.entry),
    )


def _strings(words: tuple[str, ...]) -> tuple[bytes, dict[str, int]]:
    """Give a string table of `words` and where each of them starts."""
    table, places = b"\0", {}
    for word in words:
        places[word] = len(table)
        table += word.encode() + b"\0"
    return table, places


def _places(start: int, sizes: tuple[tuple[str, int], ...]) -> dict[str, int]:
    """Give each named piece the next offset that is a multiple of eight."""
    places = {}
    for name, size in sizes:
        places[name] = start = _aligned(start)
        start += size
    return places


def _aligned(offset: int) -> int:
    return (offset + 7) // 8 * 8
