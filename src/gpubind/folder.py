# SPDX-License-Identifier: Apache-2.0
"""Changing one folder that is open: every name is a single component below a descriptor.

Nothing here follows a link and nothing is half-written: a new file or link appears by rename.
"""

from __future__ import annotations

import errno
import posix
import stat


def make(parent: int, base: str, mode: int) -> None:
    """Make one folder below a descriptor, with the parent's owner, whatever the umask is."""
    mask = posix.umask(0)
    try:
        posix.mkdir(base, mode, dir_fd=parent)
    finally:
        posix.umask(mask)
    give(base, parent)


def give(base: str, parent: int) -> None:
    """Give a new entry the owner of its folder, where that is somebody else."""
    owner = posix.fstat(parent)
    if (owner.st_uid, owner.st_gid) != (posix.geteuid(), posix.getegid()):
        try:
            posix.chown(base, owner.st_uid, owner.st_gid, dir_fd=parent, follow_symlinks=False)
        except OSError:
            return  # an owner with no number in this user namespace: what is made is ours


def write(parent: int, base: str, data: bytes, mode: int = 0o644) -> None:
    """Put a file in place below a descriptor: temporary file, then rename, no fsync.

    A file that is there keeps its mode, its owner and what extended attributes allow; a new one
    gets the owner of its folder. A link, FIFO or device of that name is replaced, never followed.
    """
    temporary = _temporary()
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    fd = posix.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        try:
            _fill(fd, data)
            _dress(fd, parent, base, mode)
        finally:
            posix.close(fd)
        posix.rename(temporary, base, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        posix.unlink(temporary, dir_fd=parent)
        raise


def _fill(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[posix.write(fd, view) :]


def _dress(fd: int, parent: int, base: str, mode: int) -> None:
    """Give a temporary file owner, mode and attributes of the file it is going to replace."""
    try:
        old = posix.open(base, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=parent)
    except OSError:
        old = -1
    try:
        status = posix.fstat(parent)
        if old >= 0 and stat.S_ISREG(posix.fstat(old).st_mode):
            status = posix.fstat(old)
            mode = stat.S_IMODE(status.st_mode) & 0o777
            _copy_attributes(f"/proc/self/fd/{old}", fd)
        if (status.st_uid, status.st_gid) != (posix.geteuid(), posix.getegid()):
            _chown(fd, status)
        posix.fchmod(fd, mode)
    finally:
        if old >= 0:
            posix.close(old)


def _copy_attributes(old: str, fd: int) -> None:
    try:
        names = posix.listxattr(old)
    except OSError:
        return  # a file system without them
    for name in names:
        try:
            posix.setxattr(fd, name, posix.getxattr(old, name))
        except OSError:
            continue  # one that is not ours to set


def _chown(fd: int, status: posix.stat_result) -> None:
    try:
        posix.fchown(fd, status.st_uid, status.st_gid)
    except OSError:
        return  # as in `give`


def symlink(parent: int, target: str, base: str) -> bool:
    """Make the link `base` with the text `target` below a descriptor; False if it is there.

    A file or another link of that name is replaced. Raises IsADirectoryError for a folder.
    """
    try:
        posix.symlink(target, base, dir_fd=parent)
    except FileExistsError:
        pass
    else:
        give(base, parent)
        return True
    status = posix.stat(base, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, posix.strerror(errno.EISDIR), base)
    if stat.S_ISLNK(status.st_mode) and posix.readlink(base, dir_fd=parent) == target:
        return False
    temporary = _temporary()
    posix.symlink(target, temporary, dir_fd=parent)
    try:
        give(temporary, parent)
        posix.rename(temporary, base, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        posix.unlink(temporary, dir_fd=parent)
        raise
    return True


def _temporary() -> str:
    """Give a name for what is not yet in place, which nobody can guess or uses besides.

    Not the PID: hooks in several PID namespaces write to one folder under the same small numbers.
    """
    return f".gpubind-{posix.urandom(8).hex()}"
