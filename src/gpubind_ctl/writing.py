# SPDX-License-Identifier: Apache-2.0
"""An operator's file put in place: whole, durable, with the mode and owner it had.

A link stays a link: what it leads to is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat


def put(path: str, data: bytes, mode: int = 0o644) -> None:
    """Write a file, its folders made where absent. Raises OSError; the old file then stays."""
    place = os.path.realpath(path)
    folder, base = os.path.split(place)
    try:
        old = os.stat(place)
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", path)
    os.makedirs(folder, 0o755, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    temporary = f".{base[:200]}.{os.getpid()}.{os.urandom(6).hex()}.tmp"
    try:
        try:
            _write(fd, temporary, data, old, mode)
            os.rename(temporary, base, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=fd)
            if isinstance(error, OSError):
                error.filename, error.filename2 = path, None
            raise
        os.fsync(fd)
    finally:
        os.close(fd)


def _write(folder: int, base: str, data: bytes, old: os.stat_result | None, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(base, flags, 0o600, dir_fd=folder)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if old is not None:
            mode = stat.S_IMODE(old.st_mode)
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, old.st_uid, old.st_gid)
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)
