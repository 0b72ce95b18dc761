# SPDX-License-Identifier: Apache-2.0
"""The ELF format as far as simulated files need it: header, segments, sections, symbols.

Layouts follow elf(5) and the psABI supplements of x86-64, i386 and AArch64.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_DYNAMIC, PT_GNU_STACK = 1, 2, 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4
SHT_PROGBITS, SHT_STRTAB, SHT_HASH, SHT_DYNAMIC, SHT_DYNSYM = 1, 3, 5, 6, 11
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB = 1, 4, 5, 6
DT_STRSZ, DT_SYMENT, DT_SONAME = 10, 11, 14
GLOBAL_OBJECT = 1 << 4 | 1  # STB_GLOBAL, STT_OBJECT


class Machine(StrEnum):
    """A machine that files can be made for, by the name the sidecar uses for it."""

    X86_64 = "x86-64"
    I386 = "i386"
    AARCH64 = "aarch64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a machine's files look like: e_machine, word size in bits, the largest page in bytes."""

    machine: int
    bits: int
    page: int

    @property
    def word(self) -> str:
        """The struct format of an address or offset."""
        return "Q" if self.bits == 64 else "I"

    @property
    def header_size(self) -> int:
        """The bytes of the file's header."""
        return 64 if self.bits == 64 else 52

    @property
    def segment_size(self) -> int:
        """The bytes of one program header."""
        return 56 if self.bits == 64 else 32

    @property
    def symbol_size(self) -> int:
        """The bytes of one symbol."""
        return 24 if self.bits == 64 else 16

    def symbol(self, name: int, value: int, size: int, info: int, section: int) -> bytes:
        """Give one row of a symbol table."""
        if self.bits == 64:
            return struct.pack("<IBBHQQ", name, info, 0, section, value, size)
        return struct.pack("<IIIBBH", name, value, size, info, 0, section)

    def segment(
        self, kind: int, flags: int, *, offset: int = 0, base: int = 0, size: int = 0, align: int
    ) -> bytes:
        """Give one program header; the segment lies at `base` plus `offset` in memory."""
        at = base + offset
        if self.bits == 64:
            return struct.pack("<IIQQQQQQ", kind, flags, offset, at, at, size, size, align)
        return struct.pack("<IIIIIIII", kind, offset, at, at, size, size, flags, align)

    def dynamic(self, entries: list[tuple[int, int]]) -> bytes:
        """Give a dynamic section of (tag, value) pairs, ended as it must be."""
        row = f"<{self.word}{self.word}"
        return b"".join(struct.pack(row, tag, value) for tag, value in [*entries, (0, 0)])


FORMS = {
    Machine.X86_64: Form(machine=62, bits=64, page=0x1000),
    Machine.I386: Form(machine=3, bits=32, page=0x1000),
    Machine.AARCH64: Form(machine=183, bits=64, page=0x10000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A piece of the file with its row in the section table; `base` is address minus offset."""

    name: str
    kind: int
    offset: int
    data: bytes
    flags: int = SHF_ALLOC
    base: int = 0
    link: int = 0
    info: int = 0
    entry: int = 0

    @property
    def end(self) -> int:
        """The offset of what follows."""
        return self.offset + len(self.data)


class Image:
    """A file that grows section by section behind its header and its program headers."""

    def __init__(self, machine: Machine, segments: int) -> None:
        self.form = FORMS[machine]
        self.sections: list[Section] = []
        self._end = self.form.header_size + segments * self.form.segment_size

    def add(self, name: str, kind: int, data: bytes, **row: int) -> Section:
        """Add a section behind the others, on a multiple of eight; `row` as in `Section`."""
        offset = (self._end + 7) // 8 * 8
        section = Section(name=name, kind=kind, offset=offset, data=data, **row)
        self.sections.append(section)
        self._end = section.end
        return section

    def file(self, kind: int, *segments: bytes, entry: int = 0) -> bytes:
        """Give the whole file, `entry` being the address where it starts."""
        form = self.form
        names, places = strings(*(section.name for section in self.sections), ".shstrtab")
        self.add(".shstrtab", SHT_STRTAB, names, flags=0)
        table = [bytes(64 if form.bits == 64 else 40)]
        table += [_row(form, section, places[section.name]) for section in self.sections]
        table_at = (self._end + 7) // 8 * 8
        header = struct.pack(
            f"<4s5B7xHHI{form.word * 3}IHHHHHH",
            *(b"\x7fELF", form.bits // 32, 1, 1, 0, 0),  # class, little endian, 1, System V ABI
            *(kind, form.machine, 1, entry, form.header_size, table_at, 0, form.header_size),
            *(form.segment_size, len(segments), len(table[0]), len(table), len(table) - 1),
        )
        image = bytearray(table_at)
        for offset, data in (
            (0, header + b"".join(segments)),
            *((section.offset, section.data) for section in self.sections),
        ):
            image[offset : offset + len(data)] = data
        return bytes(image) + b"".join(table)


def strings(*words: str) -> tuple[bytes, dict[str, int]]:
    """Give a string table of `words`, and where in it each of them starts."""
    table, places = b"\0", {}
    for word in words:
        places[word] = len(table)
        table += word.encode() + b"\0"
    return table, places


def _row(form: Form, section: Section, name: int) -> bytes:
    address = section.base + section.offset if section.flags & SHF_ALLOC else 0
    return struct.pack(
        f"<II{form.word * 4}II{form.word * 2}",
        *(name, section.kind, section.flags, address, section.offset, len(section.data)),
        *(section.link, section.info, 8, section.entry),
    )
