# SPDX-License-Identifier: Apache-2.0
"""An operator's file put in place: whole, durable, with the mode, owner and attributes it had.

A link stays a link: what it leads to is replaced. The temporary file lies in the same folder under
a name that begins with a dot and ends in .tmp; `sweep` removes those that a kill left behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SEALS = ("security.ima", "security.evm")  # of the old content: the kernel makes them anew


def put(
    path: str,
    data: bytes,
    mode: int = 0o644,
    owner: Sequence[int] = (),
    *,
    scratch: str = "",
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Write a file, its folders made where absent. Raises OSError; the old file then stays.

    `mode` and `owner`, user and group, are those of a new file; empty is who runs this.
    `scratch` is another folder for the temporary file, on the same file system. `ready` is called
    right before the rename and may raise to stop it.
    """
    place = os.path.realpath(path)
    folder, base = os.path.split(place)
    try:
        there = _is_there(place)
        os.makedirs(folder, 0o755, exist_ok=True)
        name = f"{_stem(base)}{os.getpid()}.{os.urandom(6).hex()}.tmp"
        temporary = os.path.join(scratch or folder, name)
        try:
            _write(temporary, data, place if there else "", mode, owner)
            ready()
            os.rename(temporary, place)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        settle(folder)
    except OSError as error:
        error.filename, error.filename2 = path, None
        raise


def _is_there(place: str) -> bool:
    """Tell whether there is a file. Raises OSError for what is something else."""
    try:
        mode = os.stat(place).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is not a regular file", place)
    return True


def remove(path: str) -> None:
    """Remove a file, durably. Raises OSError."""
    os.unlink(path)
    settle(os.path.dirname(path))


def status(path: str) -> tuple[int, int, int] | None:
    """Give a file's mode, user and group, None where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def sweep(path: str, scratch: str = "") -> None:
    """Remove what `put` of this path left behind when it was killed; nobody may be in it now."""
    folder, base = os.path.split(os.path.realpath(path))
    leftover = re.compile(re.escape(_stem(base)) + r"[0-9]+\.[0-9a-f]{12}\.tmp")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(scratch or folder):
            if leftover.fullmatch(name):
                os.unlink(os.path.join(scratch or folder, name))


def settle(folder: str) -> None:
    """Have a folder's names on disk. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _stem(base: str) -> str:
    return f".{base[:200]}."


def _write(temporary: str, data: bytes, old: str, mode: int, owner: Sequence[int]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if old:
            mode = _likened(fd, old)
        elif owner:
            os.fchown(fd, owner[0], owner[1])
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)


def _likened(fd: int, old: str) -> int:
    """Give the file the owner and the attributes of the old one, and return that one's mode."""
    status = os.stat(old)
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, status.st_uid, status.st_gid)
    ours, wanted = _attributes(fd), _attributes(old)
    for name, value in wanted.items():
        if name not in _SEALS and ours.get(name) != value:
            os.setxattr(fd, name, value)
    for name in ours.keys() - wanted.keys():
        if not name.startswith("security."):
            os.removexattr(fd, name)  # such as an ACL that the folder gives new files
    return stat.S_IMODE(status.st_mode)


def _attributes(file: int | str) -> dict[str, bytes]:
    """Give a file's extended attributes, none where the file system has none."""
    try:
        return {name: os.getxattr(file, name) for name in os.listxattr(file)}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return {}
        raise
