# SPDX-License-Identifier: Apache-2.0
"""System calls that move mounts, enter namespaces and load programs into the kernel.

One function per call, under the kernel's own names, as in `linux`; no policy here. Only the
prestart hook loads this module, and loads it before it enters anything: `ctypes` costs 1 ms.
"""

from __future__ import annotations

import ctypes
import errno
import os

AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
CLONE_NEWNS = 0x20000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 4
NOBODY = 0xFFFFFFFF  # a user that cannot be set: the call then tells the one there is

RDONLY = 1
NOSUID = 2
NODEV = 4
NOEXEC = 8
"""What a mount forbids: the same four numbers in mount(2) and in mount_setattr(2)."""

# The same numbers on every architecture since Linux 5.0, see syscalls(2); bpf is older.
NR_OPEN_TREE = 428
NR_MOVE_MOUNT = 429
NR_MOUNT_SETATTR = 442
NR_BPF = {"x86_64": 321, "aarch64": 280}

_ATTR_SIZE = 32  # struct mount_attr: four 64-bit words
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_long = ctypes.c_long


def open_tree(fd: int, *, recursive: bool = False) -> int:
    """Give a descriptor of a detached copy of the mount at what `fd` stands for.

    The copy belongs to no namespace and vanishes with its descriptor. Raises OSError, ENOSYS
    before Linux 5.2. See open_tree(2).
    """
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return _done(_libc.syscall(_long(NR_OPEN_TREE), fd, b"", ctypes.c_uint(flags)), fd)


def mount_setattr(fd: int, forbid: int, allow: int = 0, *, recursive: bool = False) -> None:
    """Set and clear what the mount at `fd` forbids, and make it private.

    Raises OSError, ENOSYS before Linux 5.12. See mount_setattr(2).
    """
    words = (forbid, allow, MS_PRIVATE, 0)
    attributes = b"".join(word.to_bytes(8, "little") for word in words)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    number, size = _long(NR_MOUNT_SETATTR), ctypes.c_size_t(_ATTR_SIZE)
    _done(_libc.syscall(number, fd, b"", ctypes.c_uint(flags), attributes, size), fd)


def move_mount(tree: int, target: int) -> None:
    """Attach a detached mount exactly at what the descriptor `target` stands for.

    Raises OSError, ENOSYS before Linux 5.2. See move_mount(2).
    """
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _done(_libc.syscall(_long(NR_MOVE_MOUNT), tree, b"", target, b"", ctypes.c_uint(flags)), target)


def mount(source: int | str, target: int, kind: str, flags: int, data: str = "") -> None:
    """Mount on what the descriptor `target` stands for; `source` is a descriptor or a word.

    The names the kernel is given are /proc/self/fd/N, which lead nowhere else. See mount(2).
    """
    name = source if isinstance(source, str) else f"/proc/self/fd/{source}"
    words = (name.encode(), f"/proc/self/fd/{target}".encode(), kind.encode())
    _done(_libc.mount(*words, ctypes.c_ulong(flags), data.encode()), target)


def detach(fd: int) -> None:
    """Take away the mount whose top `fd` stands for. See umount2(2)."""
    _done(_libc.umount2(f"/proc/self/fd/{fd}".encode(), MNT_DETACH), fd)


def setns(fd: int, kind: int) -> None:
    """Go into the namespace that `fd` stands for; it must be of this kind. See the man page."""
    _done(_libc.setns(fd, kind), fd)


def act_as(user: int, group: int) -> None:
    """Own what is made from now on as this user and group, with all capabilities kept.

    A file system of another user namespace takes new files from users of that namespace only. See
    setfsuid(2) and capabilities(7). Raises OSError EPERM where the kernel keeps the old user.
    """
    _libc.prctl(PR_SET_SECUREBITS, ctypes.c_ulong(SECBIT_NO_SETUID_FIXUP), 0, 0, 0)
    for call, wanted in ((_libc.setfsgid, group), (_libc.setfsuid, user)):
        call(ctypes.c_uint(wanted))
        if ctypes.c_uint(call(ctypes.c_uint(NOBODY))).value != wanted:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """Do one command of the call; what the kernel says stands in `attributes` afterwards.

    Raises OSError, ENOSYS on a machine whose number of the call is not known here.
    See bpf(2).
    """
    number = NR_BPF.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _done(_libc.syscall(_long(number), command, attributes, len(attributes)), -1)


def _done(result: int, fd: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"descriptor {fd}" if fd >= 0 else None)
    return int(result)
