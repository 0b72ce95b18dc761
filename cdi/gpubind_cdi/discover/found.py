# SPDX-License-Identifier: Apache-2.0
"""What discovery gives: mounts, device nodes, links, loader entries, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubind.root import Root
    from gpubind_cdi.libraries import Use
    from gpubind_cdi.lookup.files import File

READ_ONLY = ("ro", "nosuid", "nodev", "rbind", "rprivate")
SHARED = ("nosuid", "nodev", "rbind", "rprivate", "noexec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A host file bound into the container, and what for."""

    host: str
    container: str
    options: tuple[str, ...]
    use: Use


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A character device: its path in the container, its host path, and its numbers."""

    path: str
    host: str
    major: int
    minor: int
    mode: int
    gid: int
    use: Use


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link in the container."""

    link: str
    target: str
    capabilities: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry for the container's ld.so.cache: the path's base name is the SONAME."""

    path: str
    machine: str
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that was looked for and not found, or refused; `hint` is what to do."""

    what: str
    reason: str
    required: bool
    hint: str = ""

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.what}: {self.reason}{hint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one search gave. `inputs` are the files read: host path, mtime in ns, size.

    A mode whose result changes where something comes or goes has that too, with zeros.
    """

    mounts: tuple[Mount, ...] = ()
    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    entries: tuple[Entry, ...] = ()
    folders: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    inputs: tuple[tuple[str, int, int], ...] = ()


def together(parts: Iterable[Found]) -> Found:
    """Give all parts as one; of two mounts, nodes or links at one place the first stays."""
    known = tuple(parts)
    every = {
        field.name: tuple(thing for part in known for thing in getattr(part, field.name))
        for field in fields(Found)
    }
    return Found(
        mounts=tuple({mount.container: mount for mount in reversed(every["mounts"])}.values())[
            ::-1
        ],
        nodes=tuple({node.path: node for node in reversed(every["nodes"])}.values())[::-1],
        links=tuple({link.link: link for link in reversed(every["links"])}.values())[::-1],
        entries=tuple(dict.fromkeys(every["entries"])),
        folders=tuple(dict.fromkeys(every["folders"])),
        missing=tuple(dict.fromkeys(every["missing"])),
        inputs=tuple(dict.fromkeys(every["inputs"])),
    )


def mounted(root: Root, file: File, container: str, use: Use, options: tuple[str, ...]) -> Found:
    """Give a file of a root as a mount, and as an input."""
    host = root.outer(file.path)
    return Found(
        mounts=(Mount(host=host, container=container, options=options, use=use),),
        inputs=((host, file.status.st_mtime_ns, file.status.st_size),),
    )


def absent(what: str, use: Use, reason: str = "not found") -> Found:
    """Give the absence of something, required or not as its use says."""
    purpose = f" ({use.why})" if use.why else ""
    return Found(
        missing=(
            Missing(what=f"{what}{purpose}", reason=reason, required=use.required, hint=use.hint),
        )
    )
