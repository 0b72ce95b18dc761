# SPDX-License-Identifier: Apache-2.0
"""The files of a simulated driver are real ELF files, for the tools and for glibc's loader."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from elftools.elf.elffile import ELFFile

from gpubind_ctl.simulate import elf
from gpubind_ctl.simulate.elfformat import Machine

if TYPE_CHECKING:
    from pathlib import Path

HERE = Machine(platform.machine().replace("_", "-"))
LOAD = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
print((ctypes.c_char * int(sys.argv[2])).in_dll(library, "gpubind_simulated").value.decode())
"""


def load(path: Path, size: int, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LOAD, path, str(size)],
        env={"LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("machine", "named", "bits"),
    [(Machine.X86_64, "x64", 64), (Machine.I386, "x86", 32), (Machine.AARCH64, "AArch64", 64)],
)
def test_an_elf_reader_finds_all_of_a_library(
    tmp_path: Path, machine: Machine, named: str, bits: int
) -> None:
    path = tmp_path / "libx.so.1.2"
    path.write_bytes(elf.library(machine, "libx.so.1", "the text", ("liby.so.2", "libz.so")))
    with path.open("rb") as file:
        read = ELFFile(file)
        assert described(read) == {
            "machine": (named, bits, "ET_DYN", 0),
            "segments": [
                *(("PT_LOAD", "r"), ("PT_LOAD", "rw"), ("PT_DYNAMIC", "rw")),
                ("PT_GNU_STACK", "rw"),
            ],
            "aligned": [True, True],
            "sections": [".rodata", ".dynstr", ".hash", ".dynsym", ".dynamic", ".shstrtab"],
            "text": b"the text\0",
            "symbol": (".rodata", 9, "STT_OBJECT"),
        }
        assert tags(read) == [
            *(("DT_NEEDED", "liby.so.2"), ("DT_NEEDED", "libz.so"), ("DT_SONAME", "libx.so.1")),
            *(("DT_HASH", ".hash"), ("DT_STRTAB", ".dynstr"), ("DT_STRSZ", 47)),
            *(("DT_SYMTAB", ".dynsym"), ("DT_SYMENT", 24 if bits == 64 else 16), ("DT_NULL", 0)),
        ]


def places(read: Any) -> dict[int, str]:
    """Give the names of sections by their addresses."""
    return {one["sh_addr"]: one.name for one in read.iter_sections() if one["sh_addr"]}


def described(read: Any) -> dict[str, object]:
    symbol = read.get_section_by_name(".dynsym").get_symbol_by_name("gpubind_simulated")[0]
    kind = symbol["st_info"]["type"]
    return {
        "machine": (read.get_machine_arch(), read.elfclass, read["e_type"], read["e_flags"]),
        "segments": [
            (one["p_type"], {4: "r", 6: "rw"}.get(one["p_flags"])) for one in read.iter_segments()
        ],
        "aligned": [one["p_align"] % 4096 == 0 for one in read.iter_segments()][:2],
        "sections": [section.name for section in read.iter_sections() if section.name],
        "text": read.get_section_by_name(".rodata").data(),
        "symbol": (places(read)[symbol["st_value"]], symbol["st_size"], kind),
    }


def tags(read: Any) -> list[tuple[str, object]]:
    """Give the dynamic section, addresses as the sections they lead to."""
    found = []
    for tag in read.get_section_by_name(".dynamic").iter_tags():
        value = getattr(tag, "soname", getattr(tag, "needed", tag.entry.d_val))
        is_address = tag.entry.d_tag in {"DT_HASH", "DT_STRTAB", "DT_SYMTAB"}
        found.append((tag.entry.d_tag, places(read)[value] if is_address else value))
    return found


def test_the_loader_opens_a_library_and_finds_its_symbol(tmp_path: Path) -> None:
    path = tmp_path / "libx.so.1"
    path.write_bytes(elf.library(HERE, "libx.so.1", "a text", ()))
    done = load(path, 7, tmp_path)
    assert (done.stdout, done.returncode) == ("a text\n", 0)


def test_the_loader_opens_what_a_library_needs(tmp_path: Path) -> None:
    path = tmp_path / "libx.so.1"
    path.write_bytes(elf.library(HERE, "libx.so.1", "needs y", ("liby.so.3",)))
    alone = load(path, 8, tmp_path)
    (tmp_path / "liby.so.3").write_bytes(elf.library(HERE, "liby.so.3", "y"))
    together = load(path, 8, tmp_path)
    assert "liby.so.3: cannot open shared object file" in alone.stderr
    assert (together.stdout, together.returncode) == ("needs y\n", 0)


def test_ldconfig_makes_the_link_a_soname_asks_for(tmp_path: Path) -> None:
    (tmp_path / "libx.so.1.2").write_bytes(elf.library(HERE, "libx.so.1", "x"))
    (tmp_path / "libw.so.1.2").write_bytes(elf.library(Machine.I386, "libw.so.1", "w"))
    subprocess.run(["/sbin/ldconfig", "-n", tmp_path], check=True)
    links = {name.name: os.readlink(name) for name in tmp_path.iterdir() if name.is_symlink()}
    assert links["libx.so.1"] == "libx.so.1.2"


def test_a_program_writes_its_text_and_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "program"
    text = "several\nlines, and all of 65535 bytes".ljust(65535, ".")
    path.write_bytes(elf.program(HERE, text))
    path.chmod(0o755)
    done = subprocess.run([path], env={}, capture_output=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (text.encode(), b"", 0)


@pytest.mark.parametrize(
    ("machine", "code"),
    [  # both seen to run: here, and under QEMU
        (Machine.X86_64, "b801000000bf01000000488d3510000000ba050000000f05b83c00000031ff0f05"),
        (Machine.AARCH64, "200080d2e1000010a20080d2080880d2010000d4000080d2a80b80d2010000d4"),
    ],
)
def test_a_program_is_write_and_exit_for_its_machine(machine: Machine, code: str) -> None:
    file = elf.program(machine, "hello")
    assert bytes.fromhex(code) + b"hello" in file
