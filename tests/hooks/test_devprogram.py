# SPDX-License-Identifier: Apache-2.0
"""Device programs, run by an interpreter of their instructions: what they allow and leave."""

from __future__ import annotations

import itertools
import struct

import pytest
from gpubind_hooks import devprogram
from gpubind_hooks.goods import Rule

from gpubind.errors import ToolkitError

MKNOD, READ, WRITE = 1, 2, 4
BLOCK, CHAR = 1, 2
DENY = devprogram.returning(0)
ALLOW = devprogram.returning(1)


def run(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Run a program as the kernel would, and give its answer; a register must be set to be read."""
    context = struct.pack("<III", access << 16 | kind, major, minor)
    registers: dict[int, int] = {}
    place = 0
    while True:
        code, both, offset, number = struct.unpack_from("<BBhi", program, place * 8)
        target, source = both & 15, both >> 4
        place += 1
        match code:
            case 0x61:
                assert source == 1  # only the context is memory
                registers[target] = struct.unpack_from("<I", context, offset)[0]
            case 0xBF:
                registers[target] = registers[source]
            case 0xB7:
                registers[target] = number
            case 0x57:
                registers[target] &= number
            case 0x77:
                registers[target] >>= number
            case 0x55:
                place += offset if registers[target] != number else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"no such code: {code:#x}")


@pytest.mark.parametrize("access", ["r", "w", "m", "rw", "rm", "wm", "rwm"])
@pytest.mark.parametrize("kind", ["b", "c"])
def test_a_rule_allows_its_device_and_access_and_nothing_else(kind: str, access: str) -> None:
    program = devprogram.allowing([Rule(kind, 195, 3, access)]) + DENY
    wanted = sum({"m": MKNOD, "r": READ, "w": WRITE}[letter] for letter in access)
    for asked, number, major, minor in itertools.product(
        range(1, 8), (BLOCK, CHAR), (194, 195, 0), (3, 4, 0)
    ):
        allowed = (number, major, minor) == ({"b": BLOCK, "c": CHAR}[kind], 195, 3)
        allowed = allowed and asked & ~wanted == 0
        assert run(program, number, asked, major, minor) == allowed


def test_every_rule_of_many_counts() -> None:
    rules = [Rule("c", 195, minor, "rw") for minor in range(64)] + [Rule("c", 510, 0, "rwm")]
    program = devprogram.allowing(rules) + DENY
    for minor in range(70):
        assert run(program, CHAR, READ | WRITE, 195, minor) == (minor < 64)
    assert run(program, CHAR, MKNOD, 510, 0) == 1


@pytest.mark.parametrize("old", [ALLOW, DENY])
def test_what_no_rule_allows_is_for_the_old_program_to_say(old: bytes) -> None:
    program = devprogram.extended(old, [Rule("c", 195, 0, "rw")])
    assert run(program, CHAR, READ, 195, 0) == 1
    assert run(program, CHAR, READ, 1, 3) == run(old, CHAR, READ, 1, 3)


def test_the_old_program_still_reads_its_context() -> None:
    old = devprogram.allowing([Rule("c", 1, 3, "rwm")]) + DENY
    program = devprogram.extended(old, [Rule("c", 195, 0, "rwm")])
    assert [run(program, CHAR, READ, *device) for device in ((195, 0), (1, 3), (1, 5))] == [1, 1, 0]


def test_extending_again_changes_nothing() -> None:
    rules = [Rule("c", 195, 0, "rwm"), Rule("c", 195, 255, "rw")]
    once = devprogram.extended(DENY, rules)
    assert devprogram.extended(once, rules) == once


def test_no_rules_change_nothing() -> None:
    assert devprogram.extended(DENY, []) == DENY


LOAD_MAP = devprogram.instruction(0x18, 1, 1, number=7) + bytes(8)
LOAD_LONG = devprogram.instruction(0x18, 1, 0, number=7) + devprogram.instruction(0x85, 0, 1)
CALL_OWN = devprogram.instruction(0x85, 0, 1, number=2)
CALL_KERNEL = devprogram.instruction(0x85, 0, 0, number=5)


@pytest.mark.parametrize("program", [b"", DENY[:-1], LOAD_MAP + DENY, CALL_OWN + DENY])
def test_a_program_that_cannot_be_moved_is_refused(program: bytes) -> None:
    with pytest.raises(ToolkitError, match=r"cannot be extended.*\[CGROUP-PROGRAM\]"):
        devprogram.extended(program, [Rule("c", 1, 3, "r")])


@pytest.mark.parametrize("program", [LOAD_LONG + DENY, CALL_KERNEL + DENY])
def test_numbers_and_calls_of_the_kernel_are_fine(program: bytes) -> None:
    assert devprogram.extended(program, [Rule("c", 1, 3, "r")]).endswith(program)
