# SPDX-License-Identifier: Apache-2.0
"""Spec directories and their files, read so that nothing in them can hang or mislead us.

Who can write a spec can become root in a container start, so a file is refused unless root (or the
caller) owns it and nobody else may write it. Every stamp is taken before its file is read: a change
in between makes the stamp stale, never the content.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind import config, root, userns
from gpubind_cdi.document import MAX_SIZE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Stamp = list[int] | None

ENDINGS = (".json", ".yaml")
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
TICK_NS = 10_000_000  # CLOCK_REALTIME_COARSE at 100 Hz, see clock_getres(2)
CHANGED = 3  # where a stamp holds the change time
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISREG, ""),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file or folder as it was found: its bytes, or what was wrong with it.

    `stamp` is None where nothing was there; then `data` and `fault` are empty.
    """

    path: str
    stamp: Stamp
    data: bytes = b""
    fault: str = ""


def default_owners() -> frozenset[int]:
    """Give who may own what we read: root, and whoever we run as."""
    return frozenset({0, os.geteuid()})


def specs(parent: str, owners: Collection[int]) -> Iterator[Source]:
    """Give the folder itself, then each spec file directly inside, in the order of their names."""
    stamp = _stamp(parent)
    if stamp is None:
        yield Source(path=parent, stamp=None)
        return
    try:
        fault = _folder_fault(os.stat(parent), owners, parent)
        names = [] if fault else sorted(os.listdir(parent))
    except OSError as error:
        fault, names = _reason(error), []
    yield Source(path=parent, stamp=stamp, fault=fault)
    for name in names:
        if name.endswith(ENDINGS):
            yield read(f"{parent}/{name}", owners)


def folder(path: str) -> Source:
    """Give a folder alone, for its stamp."""
    return Source(path=path, stamp=_stamp(path))


def read(path: str, owners: Collection[int]) -> Source:
    """Give one file. It is never waited for, and never read beyond the size limit."""
    stamp = _stamp(path)
    try:
        fault = _file_fault(os.stat(path), owners, path)
        if fault:
            return Source(path=path, stamp=stamp, fault=fault)
        fd = os.open(path, FLAGS)
        try:
            fault = _file_fault(
                os.fstat(fd), owners, path
            )  # what was opened, whatever was there before
            data = b"" if fault else root.contents(fd, path, MAX_SIZE)
        finally:
            os.close(fd)
    except FileNotFoundError:
        fault = "a link to nothing" if os.path.islink(path) else ""  # else it went meanwhile
        return Source(path=path, stamp=None, fault=fault)
    except OSError as error:
        return Source(path=path, stamp=stamp, fault=_reason(error))
    return Source(path=path, stamp=stamp, data=data, fault=fault)


def _stamp(path: str) -> Stamp:
    """Give a path's stamp, once the clock has left the tick in which the path last changed.

    The kernel stamps changes with a clock of up to 10 ms: a second change in one tick would not be
    seen. What is read after that tick holds all its changes, and later ones have another stamp.
    """
    stamp = config.stamp(path)
    if stamp is not None and abs(time.time_ns() - stamp[CHANGED]) < TICK_NS:
        time.sleep(TICK_NS / 1e9)
    return stamp


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _folder_fault(status: os.stat_result, owners: Collection[int], path: str) -> str:
    if not stat.S_ISDIR(status.st_mode):
        return "not a folder"
    writable = status.st_mode & stat.S_IWOTH or (
        status.st_mode & stat.S_IWGRP and status.st_gid not in {0, os.getegid()}
    )
    if writable:
        return f"refused: others may write to the folder (mode {_mode(status)}), run chmod go-w"
    return _owner_fault(status, owners, path)


def _file_fault(status: os.stat_result, owners: Collection[int], path: str) -> str:
    kind = next((name for is_kind, name in KINDS if is_kind(status.st_mode)), "a device")
    if kind:
        return f"{kind}, not a regular file"
    if status.st_size > MAX_SIZE:
        return f"larger than {MAX_SIZE >> 20} MiB"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"refused: others may write to it (mode {_mode(status)}), run chmod go-w"
    return _owner_fault(status, owners, path)


def _owner_fault(status: os.stat_result, owners: Collection[int], path: str) -> str:
    if status.st_uid in owners or userns.is_hosts(path, status.st_uid):
        return ""
    return f"refused: it belongs to user {status.st_uid}, run chown root"


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"
