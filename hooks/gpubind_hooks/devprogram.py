# SPDX-License-Identifier: Apache-2.0
"""BPF programs of the type CGROUP_DEVICE, assembled and extended as bytes. Pure.

The kernel asks such a program about each open and mknod of a device: 1 allows, 0 is EPERM. It is
given `struct bpf_cgroup_dev_ctx` (linux/bpf.h): access << 16 | type, major, minor, 32 bits each.
Every program of a cgroup must allow, so to allow more, each one gets our rules put before it.
"""

from __future__ import annotations

from gpubind.errors import ToolkitError

SIZE = 8
"""Bytes of an instruction: code, registers, offset, immediate (linux/bpf.h, struct bpf_insn)."""

_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
_ALL = 7

# Codes: class, operation and where the second operand comes from, as in linux/bpf_common.h.
_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE = 0xBF  # BPF_ALU64 | BPF_MOV | BPF_X
_MOVE_NUMBER = 0xB7  # BPF_ALU64 | BPF_MOV | BPF_K
_AND_NUMBER = 0x57  # BPF_ALU64 | BPF_AND | BPF_K
_SHIFT_RIGHT = 0x77  # BPF_ALU64 | BPF_RSH | BPF_K
_JUMP_UNLESS_EQUAL = 0x55  # BPF_JMP | BPF_JNE | BPF_K
_EXIT = 0x95  # BPF_JMP | BPF_EXIT
_LOAD_LONG = 0x18  # BPF_LD | BPF_IMM | BPF_DW: takes two instructions
_CALL = 0x85  # BPF_JMP | BPF_CALL

_RESULT, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR = range(6)  # registers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpubind_hooks.goods import Rule


def instruction(
    code: int, target: int = 0, source: int = 0, offset: int = 0, number: int = 0
) -> bytes:
    """Give one instruction's bytes, in the machine's order on every machine supported."""
    return (
        bytes((code, source << 4 | target))
        + offset.to_bytes(2, "little", signed=True)
        + number.to_bytes(4, "little", signed=True)
    )


def returning(number: int) -> bytes:
    """Give the end of a program: its answer, 1 for allowed."""
    return instruction(_MOVE_NUMBER, _RESULT, number=number) + instruction(_EXIT)


def allowing(rules: Iterable[Rule]) -> bytes:
    """Give instructions that answer 1 for these devices and otherwise go on after their end.

    They leave the context's register as it was, and write only registers that a program may not
    read before it has written them; so any program can follow.
    """
    blocks = b"".join(_block(rule) for rule in rules)
    if not blocks:
        return b""
    return _LOADED + blocks


_LOADED = b"".join(
    (
        instruction(_LOAD_WORD, _TYPE, _CONTEXT, 0),
        instruction(_MOVE, _WANTED, _TYPE),
        instruction(_SHIFT_RIGHT, _WANTED, number=16),
        instruction(_AND_NUMBER, _TYPE, number=0xFFFF),
        instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    )
)


def _block(rule: Rule) -> bytes:
    """Give one rule: tests that jump over the answer, and the answer."""
    allowed = sum(_ACCESS[letter] for letter in set(rule.access))
    tests = [(_TYPE, _TYPES[rule.kind]), (_MAJOR, rule.major), (_MINOR, rule.minor)]
    answer = returning(1)
    parts: list[bytes] = []
    left = 4 if allowed == _ALL else 7  # instructions to jump over after the first test
    for register, number in tests:
        parts.append(instruction(_JUMP_UNLESS_EQUAL, register, offset=left, number=number))
        left -= 1
    if allowed != _ALL:
        parts += [
            instruction(_MOVE, _RESULT, _WANTED),
            instruction(_AND_NUMBER, _RESULT, number=_ALL & ~allowed),
            instruction(_JUMP_UNLESS_EQUAL, _RESULT, offset=2, number=0),
        ]
    return b"".join(parts) + answer


def extended(old: bytes, rules: Sequence[Rule]) -> bytes:
    """Give the program `old` with `rules` allowed besides what it allows.

    One that begins with just these rules is given back as it is. Raises ToolkitError for a program
    that cannot be moved: one with maps or calls into itself names things by numbers of its own.
    """
    check(old)
    block = allowing(rules)
    return old if old.startswith(block) else block + old


def check(program: bytes) -> None:
    """Refuse a program that stands for something else once it is copied. Raises ToolkitError."""
    if not program or len(program) % SIZE:
        raise _refused("its instructions cannot be read")
    index = 0
    while index < len(program):
        code, registers = program[index], program[index + 1]
        source = registers >> 4
        if code == _LOAD_LONG:
            if source:
                raise _refused("it uses a map")
            index += SIZE
        elif code == _CALL and source:
            raise _refused("it calls a function of its own")
        index += SIZE


def _refused(why: str) -> ToolkitError:
    return ToolkitError(
        f"the container's device cgroup has a program that cannot be extended: {why}",
        identifier="CGROUP-PROGRAM",
        hint="use the runtime gpubind-runtime, or CDI, where the engine allows the devices itself",
    )
