# SPDX-License-Identifier: Apache-2.0
"""The ELF reader agrees with pyelftools on good files and refuses the others in bounded time."""

from __future__ import annotations

import glob
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from gpubind import elf
from gpubind_ctl.simulate import elf as maker
from gpubind_ctl.simulate.elfformat import Machine

if TYPE_CHECKING:
    from pathlib import Path

GOOD = maker.library(Machine.X86_64, "libcuda.so.1", "text")


def read(data: bytes) -> elf.Elf:
    fd = os.memfd_create("elf")
    try:
        os.write(fd, data)
        return elf.read(fd)
    finally:
        os.close(fd)


def patched(data: bytes, offset: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, offset, value)
    return bytes(changed)


def dynamic_entry(data: bytes, tag: int) -> int:
    """Give the offset of an entry of the dynamic section of a 64-bit file."""
    (table,) = struct.unpack_from("<Q", data, 32)
    for row in range(struct.unpack_from("<H", data, 56)[0]):
        kind, _, offset = struct.unpack_from("<IIQ", data, table + 56 * row)
        if kind == 2:
            while struct.unpack_from("<Q", data, offset)[0] != tag:
                offset += 16
            return int(offset)
    raise AssertionError


@pytest.mark.parametrize("machine", list(Machine))
def test_machine_and_soname_are_those_the_file_was_made_with(machine: Machine) -> None:
    data = maker.library(machine, "libcuda.so.1", "text", ("libc.so.6",))
    assert read(data) == elf.Elf(machine=machine.value, soname="libcuda.so.1")


def test_this_hosts_libraries_read_as_pyelftools_reads_them() -> None:
    names = {"EM_X86_64": "x86-64", "EM_386": "i386", "EM_AARCH64": "aarch64"}
    checked = 0
    for path in sorted(glob.glob("/usr/lib/*-linux-gnu/*.so.*"))[:80]:
        with open(path, "rb") as file:
            known: Any = ELFFile(file)
            tags = [
                tag.soname
                for segment in known.iter_segments("PT_DYNAMIC")
                for tag in segment.iter_tags("DT_SONAME")
            ]
            want = elf.Elf(machine=names[known["e_machine"]], soname=(tags or [""])[0])
            assert elf.read(file.fileno()) == want, path
        checked += 1
    assert checked > 10


def test_a_library_without_soname_has_none() -> None:
    data = patched(GOOD, dynamic_entry(GOOD, 14), "<Q", 21)
    assert read(data) == elf.Elf(machine="x86-64", soname="")


def test_a_machine_no_driver_is_for_has_no_name() -> None:
    assert read(patched(GOOD, 18, "<H", 21)).machine == ""
    x32 = maker.library(Machine.I386, "libcuda.so.1", "text")
    assert read(patched(x32, 18, "<H", 62)).machine == ""


def test_a_file_cut_off_anywhere_is_refused_or_read_right() -> None:
    whole = read(GOOD)
    for length in range(len(GOOD)):
        try:
            assert read(GOOD[:length]) == whole
        except elf.ElfError as error:
            assert str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is cut off"),
        (b"/* GNU ld script */ GROUP ( libcuda.so.1 )", "not an ELF file"),
        (maker.program(Machine.X86_64, "hello"), "not a shared library"),
        (patched(GOOD, 32, "<Q", 1 << 63), "an offset lies outside the file"),
        (patched(GOOD, 32, "<Q", 1 << 40), "the file is cut off"),
        (patched(GOOD, 54, "<H", 1), "the program headers are wrong"),
        (patched(GOOD, 56, "<H", 65535), "the program headers are wrong"),
        (
            patched(GOOD, dynamic_entry(GOOD, 5), "<Q", 21),
            "the dynamic section has no string table",
        ),
        (
            patched(GOOD, dynamic_entry(GOOD, 5) + 8, "<Q", 1 << 50),
            "an address lies outside the file",
        ),
        (patched(GOOD, dynamic_entry(GOOD, 14) + 8, "<Q", 1 << 61), "the SONAME has no end"),
        (GOOD.replace(b"libcuda.so.1\0", b"../../../x.1\0"), "the SONAME is no file name"),
        (GOOD.replace(b"libcuda.so.1\0", b"libcuda\nso.1\0"), "the SONAME is no file name"),
        (GOOD.replace(b"libcuda.so.1\0", b"libcuda\xffso.1\0"), "the SONAME is no file name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_library_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(elf.ElfError) as caught:
        read(data)
    assert str(caught.value) == message


def test_a_huge_dynamic_section_is_refused(tmp_path: Path) -> None:
    (table,) = struct.unpack_from("<Q", GOOD, 32)
    rows = struct.unpack_from("<H", GOOD, 56)[0]
    offsets = [table + 56 * row for row in range(rows)]
    dynamic = next(at for at in offsets if struct.unpack_from("<I", GOOD, at)[0] == 2)
    path = tmp_path / "lib.so"
    path.write_bytes(patched(GOOD, dynamic + 32, "<Q", 1 << 40))
    os.truncate(path, 1 << 41)
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(elf.ElfError, match="too large"):
            elf.read(fd)
    finally:
        os.close(fd)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=9)), max_size=6))
def test_no_damage_leads_to_another_error(damages: list[tuple[int, bytes]]) -> None:
    data = bytearray(GOOD)
    for offset, written in damages:
        data[offset : offset + len(written)] = written
    try:
        found = read(bytes(data))
    except elf.ElfError:
        return
    assert "/" not in found.soname
