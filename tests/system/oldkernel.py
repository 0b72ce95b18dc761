# SPDX-License-Identifier: Apache-2.0
"""An older kernel, played by a seccomp filter: the named system calls answer ENOSYS.

As a program: NAME[,NAME...] COMMAND..., runs the command so. See seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBERS = {
    "memfd_create": 319,
    "open_tree": 428,
    "move_mount": 429,
    "openat2": 437,
    "mount_setattr": 442,
}
SET_NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # classic BPF, see linux/filter.h
ALLOW, ERROR = 0x7FFF0000, 0x00050000


def program(names: Iterable[str]) -> bytes:
    """Give a filter that answers ENOSYS to these calls and lets all others through."""
    parts = [struct.pack("<HBBI", LOAD, 0, 0, 0)]
    for name in names:
        parts.append(struct.pack("<HBBI", EQUAL, 0, 1, NUMBERS[name]))
        parts.append(struct.pack("<HBBI", RETURN, 0, 0, ERROR | errno.ENOSYS))
    return b"".join([*parts, struct.pack("<HBBI", RETURN, 0, 0, ALLOW)])


def forget(names: Iterable[str]) -> None:
    """Take these calls away from this process and all it will start."""
    code = program(names)
    held = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("@HP", len(code) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(SET_SECCOMP, FILTER, described):
        raise OSError(ctypes.get_errno(), "no filter could be set")


if __name__ == "__main__":
    forget(sys.argv[1].split(","))
    os.execv(sys.argv[2], sys.argv[2:])
