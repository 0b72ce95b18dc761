# SPDX-License-Identifier: Apache-2.0
"""What a virtual GPU's PCI configuration space says of the machine that it is a part of.

A vendor-specific capability (PCI Local Bus Specification 3.0, section 6.7 and appendix H) with the
signature `VF` holds records: a number, a length, and data. Record 0 is the host's driver.
"""

from __future__ import annotations

from typing import NamedTuple

SPACE = 256  # what a process without CAP_SYS_ADMIN reads ends at 64
STATUS, HAS_CAPABILITIES, FIRST = 0x06, 0x10, 0x34
VENDOR_SPECIFIC, BROKEN = 0x09, 0xFF
SIGNATURE, RECORDS = slice(3, 5), 5
VERSION, BRANCH = slice(2, 12), slice(12, 22)


class Host(NamedTuple):
    """The driver below the virtual GPU: its version, such as `550.54.16`, and its branch."""

    version: str
    branch: str


def host(space: bytes) -> Host | None:
    """Give the host's driver, empty texts where it is not told; None for a GPU that is none."""
    capability = _vendor_specific(space)
    if capability[SIGNATURE] != b"VF":
        return None
    at = RECORDS
    while at + 1 < len(capability) and capability[at]:
        if not capability[at + 1]:
            break  # a record without length would be read for ever
        at += capability[at + 1]
    record = capability[at:]
    if len(record) < BRANCH.stop or record[0]:
        return Host("", "")
    return Host(_text(record[VERSION]), _text(record[BRANCH]))


def _vendor_specific(space: bytes) -> bytes:
    """Give the first vendor-specific capability, empty for none."""
    if len(space) < SPACE or not space[STATUS] & HAS_CAPABILITIES:
        return b""
    at, seen = space[FIRST], set[int]()
    while at and at not in seen and at + 2 < SPACE and space[at] != BROKEN:
        if space[at] == VENDOR_SPECIFIC:
            return space[at : at + space[at + 2]]
        seen.add(at)
        at = space[at + 1]
    return b""


def _text(data: bytes) -> str:
    return data.strip(b"\0").decode("ascii", "replace")
