# SPDX-License-Identifier: Apache-2.0
"""Engines' files written: one at a time, under a lock, never over what somebody else just wrote."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind_ctl import writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpubind_ctl.engine.engine import Edit, Host

PATIENCE = 120  # seconds to wait for other runs
_INTERVAL = 0.05
_HINTS = {
    errno.EROFS: "build it into the host's image; --dry-run shows the change",
    errno.EBUSY: "it is a mount point: change the file that is mounted there",
    errno.EPERM: "it may be immutable: see lsattr",
    errno.EACCES: "run it as root",
    errno.ENOSPC: "make room",
}


class ChangedError(Exception):
    """Somebody else wrote the file between our reading and our writing it."""


@contextlib.contextmanager
def locked(state: str) -> Iterator[None]:
    """Hold the lock of a state folder, made where absent. Raises ToolkitError, OSError."""
    path = f"{state}/lock"
    try:
        os.makedirs(state, 0o755, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ToolkitError(
            f"{path}: {error.strerror}; nothing was changed",
            identifier="ENGINE-WRITE",
            hint=_HINTS.get(error.errno or 0, ""),
        ) from None
    try:
        deadline = time.monotonic() + PATIENCE
        while not _taken(fd):
            if time.monotonic() > deadline:
                raise ToolkitError(
                    f"{path}: held by another run for {PATIENCE} seconds", identifier="ENGINE-BUSY"
                )
            time.sleep(_INTERVAL)
        yield
    finally:
        os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write(edits: Sequence[Edit], host: Host) -> None:
    """Do the edits in their order; where one fails, those before it are taken back.

    Raises ChangedError, or ToolkitError with what the kernel says; all files then are as before.
    """
    done: list[Edit] = []
    for edit in edits:
        back = replace(edit, before=edit.after, after=edit.before, status=writing.status(edit.path))
        try:
            _one(edit, host)
        except BaseException as error:
            for one in reversed(done):
                with contextlib.suppress(OSError, ChangedError, ToolkitError):
                    _one(one, host)
            if isinstance(error, OSError):
                raise _refused(edit.path, error) from None
            raise
        done.append(back)


def _one(edit: Edit, host: Host) -> None:
    trusted(edit.path)
    writing.sweep(edit.path, edit.scratch)

    def unchanged() -> None:
        if host.read(edit.path) != edit.before:
            raise ChangedError

    if edit.after is not None:
        mode, *owner = edit.status or (0o644,)
        writing.put(edit.path, edit.after, mode, owner, scratch=edit.scratch, ready=unchanged)
    else:
        unchanged()
        writing.remove(os.path.realpath(edit.path))


def sweep(edits: Sequence[Edit]) -> None:
    """Remove what earlier runs left behind when they were killed."""
    for edit in edits:
        writing.sweep(edit.path, edit.scratch)


def trusted(path: str) -> None:
    """Refuse a link that leads to where others than root and we could put things.

    Raises ToolkitError.
    """
    real = os.path.realpath(path)
    if real == os.path.abspath(path):
        return
    for place in (real, os.path.dirname(real)):
        try:
            status = os.stat(place)
        except FileNotFoundError:
            continue
        loose = stat.S_IMODE(status.st_mode) & 0o022 and not status.st_mode & stat.S_ISVTX
        if loose or status.st_uid not in (0, os.geteuid()):
            raise ToolkitError(
                f"{path}: is a link to {real}, and {place} is not root's alone",
                identifier="ENGINE-FILE",
                hint="name the file itself with --config",
            )


def links(path: str) -> int:
    """Give how many names a file has, 0 where it is absent."""
    try:
        return os.stat(path).st_nlink
    except OSError:
        return 0


def _refused(path: str, error: OSError) -> ToolkitError:
    return ToolkitError(
        f"{path}: {error.strerror}; it is as it was",
        identifier="ENGINE-WRITE",
        hint=_HINTS.get(error.errno or 0, ""),
    )
