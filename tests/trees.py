# SPDX-License-Identifier: Apache-2.0
"""Root folders for tests: built from a dict, and read back to see what changed.

build(tmp_path, {"/etc/x": "content", "/lib": "-> usr/lib", "/dev/pipe": FIFO})
"""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Special:
    """Something that is neither a text nor a link, by the function that makes it."""

    make: Callable[[str], object]


def _socket(path: str) -> None:
    here = os.getcwd()
    os.chdir(os.path.dirname(path))  # a socket's path may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.basename(path))
    finally:
        os.chdir(here)


def sparse(size: int) -> Special:
    """Give a file of `size` bytes that takes no room."""

    def make(path: str) -> None:
        with open(path, "wb") as file:
            file.truncate(size)

    return Special(make)


def device(major: int, minor: int) -> Special:
    """Give a character device node; only root can make one."""
    return Special(lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(major, minor)))


Tree: TypeAlias = "Mapping[str, str | bytes | Special]"

FOLDER = Special(lambda path: os.makedirs(path, exist_ok=True))
FIFO = Special(os.mkfifo)
SOCKET = Special(_socket)


def build(root: str | os.PathLike[str], tree: Tree | None = None) -> str:
    """Make `tree` under `root` and give `root`; parents are made where they are absent."""
    os.makedirs(root, exist_ok=True)
    for name, content in (tree or {}).items():
        path = os.fspath(root) + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(content, Special):
            content.make(path)
        elif isinstance(content, str) and content.startswith("-> "):
            os.symlink(content[3:], path)
        else:
            data = content if isinstance(content, bytes) else content.encode()
            with open(path, "wb") as file:
                file.write(data)
    return os.fspath(root)


def seen(root: str | os.PathLike[str]) -> dict[str, tuple[object, ...]]:
    """Give everything below `root` by name: kind, mode, owner, inode, time of change, content."""
    found: dict[str, tuple[object, ...]] = {}
    for place, folders, names in os.walk(root):
        for name in (*folders, *names, "."):
            path = os.path.join(place, name)
            status = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode) and status.st_size < 1 << 26:
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, root)] = (
                *(status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_mtime_ns),
                content,
            )
    return found
