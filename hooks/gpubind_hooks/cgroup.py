# SPDX-License-Identifier: Apache-2.0
"""Allowing devices in a running container's device cgroup, beside what it allows already.

Version 1 takes rules as words. In version 2 each attached BPF program is replaced by itself with
our rules put before it; while both are attached, both must allow, so nothing is ever open that was
closed. Where no program is attached, nothing is denied there and nothing is done.
"""

from __future__ import annotations

import ctypes
import os
from struct import pack_into, unpack_from

from gpubind import mounting
from gpubind.errors import ToolkitError
from gpubind_hooks import devprogram, mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_hooks.goods import Rule

PROG_LOAD, PROG_ATTACH, PROG_DETACH = 5, 8, 9
PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, PROG_QUERY = 13, 15, 16
PROG_TYPE = 15  # BPF_PROG_TYPE_CGROUP_DEVICE
ATTACH_TYPE = 6  # BPF_CGROUP_DEVICE
F_ALLOW_MULTI, F_REPLACE = 2, 4
MOST = 64  # programs a cgroup may have, BPF_CGROUP_MAX_PROGS
LICENSE = b"Apache-2.0\0"

_ATTRIBUTES = 128  # bytes; the kernel takes more than it knows where the rest is zero
_INFO = 256


def allow(cgroups: str, mounts: str, rules: Sequence[Rule]) -> str:
    """Allow the devices for the process whose /proc/PID/cgroup is `cgroups`.

    `mounts` is our own mountinfo. Gives a line on what was done. Raises ToolkitError.
    """
    place = mountinfo.device_cgroup(cgroups, mounts)
    try:
        if place.version == 1:
            _write(place.folder, rules)
            return f"allow {len(rules)} devices in {place.folder}"
        count = extend(place.folder, rules)
    except OSError as error:
        raise ToolkitError(
            f"{place.folder}: devices cannot be allowed: {error.strerror}",
            identifier="CGROUP-DENIED",
            hint="the hook must run as root, outside of user namespaces",
        ) from error
    return f"allow {len(rules)} devices in {count} programs of {place.folder}"


def _write(folder: str, rules: Sequence[Rule]) -> None:
    """Allow in version 1: one rule a write (cgroup-v1/devices.rst)."""
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(f"{folder}/devices.allow", flags)
    try:
        for rule in rules:
            os.write(fd, str(rule).encode())
    finally:
        os.close(fd)


def extend(folder: str, rules: Sequence[Rule]) -> int:
    """Extend every device program attached to the cgroup2 folder; give how many there are."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found, flags = attached(fd)
        for number in found:
            old = by_number(number)
            try:
                _extend(fd, old, flags, rules)
            finally:
                os.close(old)
        return len(found)
    finally:
        os.close(fd)


def _extend(folder: int, old: int, flags: int, rules: Sequence[Rule]) -> None:
    program = instructions(old)
    longer = devprogram.extended(program, rules)
    if longer == program:
        return
    new = load(longer)
    try:
        replace(folder, old, new, flags)
    finally:
        os.close(new)


def replace(folder: int, old: int, new: int, flags: int) -> None:
    """Put the program `new` in the place of `old`; `flags` are those they are attached with.

    In one step since Linux 5.6; before that, attached together for a moment.
    """
    if not flags & F_ALLOW_MULTI:
        attach(folder, new, flags)  # one program at most: a second one takes its place
        return
    try:
        attach(folder, new, flags | F_REPLACE, old)
    except OSError:
        replace_in_steps(folder, old, new, flags)


def replace_in_steps(folder: int, old: int, new: int, flags: int) -> None:
    """Attach the program `new` beside `old`, then take `old` away: as before Linux 5.6."""
    attach(folder, new, flags)
    attributes = _blank()
    pack_into("=IIII", attributes, 0, folder, old, ATTACH_TYPE, 0)
    mounting.bpf(PROG_DETACH, attributes)


def attach(folder: int, program: int, flags: int, old: int = 0) -> None:
    """Attach a program to a cgroup2 folder, with F_REPLACE in the place of `old`."""
    attributes = _blank()
    pack_into("=IIIII", attributes, 0, folder, program, ATTACH_TYPE, flags, old)
    mounting.bpf(PROG_ATTACH, attributes)


def attached(folder: int) -> tuple[list[int], int]:
    """Give the numbers of the programs attached to a cgroup2 folder, and their flags."""
    numbers = (ctypes.c_uint32 * MOST)()
    attributes = _blank()
    pack_into("=IIIIQI", attributes, 0, folder, ATTACH_TYPE, 0, 0, ctypes.addressof(numbers), MOST)
    mounting.bpf(PROG_QUERY, attributes)
    flags, count = unpack_from("=I", attributes, 12)[0], unpack_from("=I", attributes, 24)[0]
    return list(numbers[:count]), flags


def by_number(number: int) -> int:
    """Give a descriptor of the loaded program with this number."""
    attributes = _blank()
    pack_into("=I", attributes, 0, number)
    return mounting.bpf(PROG_GET_FD_BY_ID, attributes)


def instructions(program: int) -> bytes:
    """Give a loaded program's instructions as the kernel has them."""
    size = unpack_from("=I", _info(program, 0, 0), 20)[0]
    code = ctypes.create_string_buffer(max(size, 1))
    info = _info(program, size, ctypes.addressof(code))
    return code.raw[: min(size, unpack_from("=I", info, 20)[0])]


def _info(program: int, size: int, code: int) -> ctypes.Array[ctypes.c_char]:
    """Ask for a program's description (struct bpf_prog_info), with room for its instructions."""
    info = ctypes.create_string_buffer(_INFO)
    pack_into("=I", info, 20, size)  # xlated_prog_len
    pack_into("=Q", info, 32, code)  # xlated_prog_insns
    attributes = _blank()
    pack_into("=IIQ", attributes, 0, program, _INFO, ctypes.addressof(info))
    mounting.bpf(OBJ_GET_INFO_BY_FD, attributes)
    return info


def load(code: bytes) -> int:
    """Load a device program and give its descriptor."""
    held = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(LICENSE, len(LICENSE))
    attributes = _blank()
    addresses = (ctypes.addressof(held), ctypes.addressof(licence))
    pack_into("=IIQQ", attributes, 0, PROG_TYPE, len(code) // devprogram.SIZE, *addresses)
    pack_into("=16s", attributes, 48, b"gpubind")  # prog_name
    pack_into("=I", attributes, 68, ATTACH_TYPE)  # expected_attach_type
    return mounting.bpf(PROG_LOAD, attributes)


def _blank() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(_ATTRIBUTES)
