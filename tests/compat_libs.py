# SPDX-License-Identifier: Apache-2.0
"""CUDA compatibility libraries as images carry them: small ELF files with the driver's note."""

from __future__ import annotations

import json
import struct

from gpubind_ctl.simulate import elf
from gpubind_ctl.simulate.elfformat import Machine

SECTION = b".note.cuda.fwd_compatibility"
OWNER = b"NVIDIA Corporation\0"
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
ROW = struct.Struct("<IIQQQQIIQQ")


def library(soname: str, note: bytes | None = None, machine: str = "x86-64") -> bytes:
    """Give a library of that SONAME, with the note section holding `note`."""
    data = elf.library(Machine(machine), soname, "compat")
    return data if note is None else with_section(data, SECTION, note)


def note(facts: object, owner: bytes = OWNER) -> bytes:
    """Give a note section's bytes: sizes, type, padded owner, text."""
    text = facts if isinstance(facts, bytes) else json.dumps(facts).encode()
    padded = owner + b"\0" * (-len(owner) % 4)
    return struct.pack("<III", len(owner), len(text), 1) + padded + text


def with_section(data: bytes, name: bytes, content: bytes) -> bytes:
    """Give a 64-bit ELF file with one more note section and a new section table at its end."""
    facts = list(HEADER.unpack_from(data))
    table, count, strings = facts[6], facts[12], facts[13]
    rows = [list(ROW.unpack_from(data, table + ROW.size * index)) for index in range(count)]
    names = data[rows[strings][4] : rows[strings][4] + rows[strings][5]]
    data += b"\0" * (-len(data) % 8)
    rows.append([len(names), 7, 0, 0, len(data), len(content), 0, 0, 4, 0])
    data += content
    rows[strings][4], rows[strings][5] = len(data), len(names) + len(name) + 1
    data += names + name + b"\0"
    facts[6], facts[12] = len(data), count + 1
    return HEADER.pack(*facts) + (data + b"".join(ROW.pack(*row) for row in rows))[HEADER.size :]
