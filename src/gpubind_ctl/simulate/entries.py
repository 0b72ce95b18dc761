# SPDX-License-Identifier: Apache-2.0
"""What a simulated node consists of, as values: files, links, device nodes, sockets, folders.

Paths are absolute as seen inside the node, and name no link on their way.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder; those on the way to other entries need not be named."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A regular file."""

    path: str
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link with its text."""

    path: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A character device; nothing on the host drives it."""

    path: str
    major: int
    minor: int
    mode: int
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """A unix socket that nobody listens on."""

    path: str
    mode: int = 0o666


Entry = Folder | File | Link | Node | Socket
