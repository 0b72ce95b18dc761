# SPDX-License-Identifier: Apache-2.0
"""Small but real ELF files, made without a compiler: shared libraries and static programs.

A library has what a loader, ldconfig and ELF readers look for: a dynamic section with its SONAME,
what it needs and one exported object, `gpubind_simulated`, whose text names the file. A program
writes one text to its standard output and ends with status 0; it needs no libraries, so it runs in
any container of its machine.
"""

from __future__ import annotations

import struct

from gpubind_ctl.simulate import elfformat as elf
from gpubind_ctl.simulate.elfformat import Image, Machine

SYMBOL = "gpubind_simulated"

_BASE = 0x400000  # where static programs of both machines are linked by custom
_TEXT, _STRINGS, _SYMBOLS = 1, 2, 4  # places in the section table
_READ, _WRITE, _RUN = elf.PF_R, elf.PF_R | elf.PF_W, elf.PF_R | elf.PF_X


def library(machine: Machine, soname: str, text: str, needed: tuple[str, ...] = ()) -> bytes:
    """Give a shared library with `soname` that needs `needed`; its one symbol holds `text`."""
    image = Image(machine, segments=4)
    form = image.form
    value = image.add(".rodata", elf.SHT_PROGBITS, text.encode() + b"\0")
    words, at = elf.strings(soname, SYMBOL, *needed)
    strings = image.add(".dynstr", elf.SHT_STRTAB, words)
    # One bucket for two symbols: it begins with symbol 1, whose chain ends there.
    chains = struct.pack("<6I", 1, 2, 1, 0, 0, 0)
    hashes = image.add(".hash", elf.SHT_HASH, chains, link=_SYMBOLS, entry=4)
    rows = form.symbol(0, 0, 0, 0, 0)
    rows += form.symbol(at[SYMBOL], value.offset, len(value.data), elf.GLOBAL_OBJECT, _TEXT)
    size = form.symbol_size
    symbols = image.add(".dynsym", elf.SHT_DYNSYM, rows, link=_STRINGS, info=1, entry=size)
    entries = [
        *((elf.DT_NEEDED, at[name]) for name in needed),
        *((elf.DT_SONAME, at[soname]), (elf.DT_HASH, hashes.offset)),
        *((elf.DT_STRTAB, strings.offset), (elf.DT_STRSZ, len(words))),
        *((elf.DT_SYMTAB, symbols.offset), (elf.DT_SYMENT, size)),
    ]
    return _with_dynamic(image, form.dynamic(entries), symbols.end)


def _with_dynamic(image: Image, data: bytes, constant: int) -> bytes:
    """Give the file with its dynamic section; what lies before `constant` is only read.

    glibc before 2.35 writes to the dynamic section, so it lies in a writable segment of its own,
    one page up: the same page of the file is mapped twice.
    """
    form, flags = image.form, elf.SHF_ALLOC | elf.SHF_WRITE
    row = {"flags": flags, "base": form.page, "link": _STRINGS, "entry": form.bits // 4}
    section = image.add(".dynamic", elf.SHT_DYNAMIC, data, **row)
    place = {"offset": section.offset, "base": form.page, "size": len(data)}
    return image.file(
        elf.ET_DYN,
        form.segment(elf.PT_LOAD, _READ, size=constant, align=form.page),
        form.segment(elf.PT_LOAD, _WRITE, **place, align=form.page),
        form.segment(elf.PT_DYNAMIC, _WRITE, **place, align=8),
        form.segment(elf.PT_GNU_STACK, _WRITE, align=16),
    )


def program(machine: Machine, text: str) -> bytes:
    """Give a static program that writes `text`, less than 64 KiB, and ends with status 0."""
    image = Image(machine, segments=2)
    form, value = image.form, text.encode()
    code = _CODES[machine](len(value))
    flags = elf.SHF_ALLOC | elf.SHF_EXECINSTR
    section = image.add(".text", elf.SHT_PROGBITS, code + value, flags=flags, base=_BASE)
    return image.file(
        elf.ET_EXEC,
        form.segment(elf.PT_LOAD, _RUN, base=_BASE, size=section.end, align=form.page),
        form.segment(elf.PT_GNU_STACK, _WRITE, align=16),
        entry=_BASE + section.offset,
    )


def _x86_64(size: int) -> bytes:
    """Give write(1, text, size); exit(0), the text following the code."""
    length = b"\xba" + struct.pack("<I", size)  # mov edx, size
    end = b"\x0f\x05" + b"\xb8\x3c\0\0\0" + b"\x31\xff" + b"\x0f\x05"  # syscall; exit(0)
    text = b"\x48\x8d\x35" + struct.pack("<i", len(length) + len(end))  # lea rsi, [rip + distance]
    return b"\xb8\x01\0\0\0" + b"\xbf\x01\0\0\0" + text + length + end


def _aarch64(size: int) -> bytes:
    """Give write(1, text, size); exit(0), the text following the code's eight instructions."""

    def move(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register  # movz

    call, distance = 0xD4000001, 7 * 4  # svc 0; from adr, the second one, to the end
    address = 0x10000000 | (distance & 3) << 29 | (distance >> 2) << 5 | 1  # adr x1
    write = (move(0, 1), address, move(2, size), move(8, 64), call)
    return struct.pack("<8I", *write, move(0, 0), move(8, 93), call)


_CODES = {Machine.X86_64: _x86_64, Machine.AARCH64: _aarch64}
