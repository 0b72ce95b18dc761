# SPDX-License-Identifier: Apache-2.0
"""The shapes a spec can have: with hooks, without any, or for containers inside a container. Pure.

Hooks make links and tell the container's loader of libraries. Engines that ignore hooks need both
as mounts: a link becomes one more mount of the file it leads to, and each library also lies, by its
SONAME, in the folders that a glibc of any distribution searches without being told. So no variable
is needed, and LD_LIBRARY_PATH stays the image's own.

A nested spec is used inside a container that got the devices: there, the driver's files lie where
that container has them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind import elf
from gpubind.errors import UsageError
from gpubind_cdi.discover.found import Found, together

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpubind_cdi.discover.found import Mount
    from gpubind_cdi.modes.mode import Described

HOOKS, HOOK_FREE, NESTED = "hooks", "hook-free", "nested"
NAMES = (HOOKS, HOOK_FREE, NESTED)
MAX_LINKS = 40  # what the kernel allows, see path_resolution(7)

# What glibc's loader searches where its cache has nothing: Debian's folder, then the others'.
SEARCHED = {
    elf.X86_64: ("/usr/lib/x86_64-linux-gnu", "/usr/lib64"),
    elf.AARCH64: ("/usr/lib/aarch64-linux-gnu", "/usr/lib64"),
    elf.I386: ("/usr/lib/i386-linux-gnu", "/usr/lib"),
}


def check(name: str, enabled_hooks: tuple[str, ...]) -> None:
    """Raise UsageError for a shape that is none, and for hooks it can't have."""
    if name not in NAMES:
        raise UsageError(
            f"no shape {name!r}", identifier="USE-SHAPE", hint=f"use one of {', '.join(NAMES)}"
        )
    if name != HOOKS and enabled_hooks:
        raise UsageError(
            f"a {name} spec has no hook {enabled_hooks[0]}",
            identifier="USE-SHAPE",
            hint="leave out --enable-hook or --shape",
        )


def hook_free(described: Described) -> Described:
    """Give a description whose links and loader entries are mounts and nodes."""
    common = together([described.common, _linked(described.common), _searched(described.common)])
    return replace(
        described,
        common=replace(common, links=(), entries=()),
        devices={
            names: replace(together([found, _linked(found)]), links=())
            for names, found in described.devices.items()
        },
        operations=(),
    )


def nested(described: Described) -> Described:
    """Give a hook-free description of what a container has that got the devices."""
    places = _places(described.common)
    return replace(
        described,
        common=_inside(described.common, places),
        devices={
            names: _inside(found, places | _places(found))
            for names, found in described.devices.items()
        },
    )


def _linked(found: Found) -> Found:
    """Give a mount or node in the place of each link to one."""
    links = {link.link: link.target for link in found.links}
    mounts = {mount.container: mount for mount in found.mounts}
    nodes = {node.path: node for node in found.nodes}
    ends = [(link.link, _end(links, link.link)) for link in found.links]
    return Found(
        mounts=tuple(replace(mounts[end], container=place) for place, end in ends if end in mounts),
        nodes=tuple(replace(nodes[end], path=place) for place, end in ends if end in nodes),
    )


def _searched(found: Found) -> Found:
    return Found(mounts=tuple(_searched_mounts(found)))


def _searched_mounts(found: Found) -> Iterator[Mount]:
    """Give each library by its SONAME in the folders that every loader searches."""
    links = {link.link: link.target for link in found.links}
    mounts = {mount.container: mount for mount in found.mounts}
    for entry in found.entries:
        mount = mounts.get(_end(links, entry.path))
        soname = os.path.basename(entry.path)
        for folder in SEARCHED.get(entry.machine, ()):
            if mount is not None and mount.container != f"{folder}/{soname}":
                yield replace(mount, container=f"{folder}/{soname}")


def _end(links: Mapping[str, str], path: str) -> str:
    """Give where a path leads by these links alone."""
    for _ in range(MAX_LINKS):
        if path not in links:
            break
        path = os.path.normpath(f"{os.path.dirname(path)}/{links[path]}")
    return path


def _places(found: Found) -> dict[str, str]:
    """Give where in a container each host file and node is; of several places the first."""
    places: dict[str, str] = {}
    for mount in found.mounts:
        places.setdefault(mount.host, mount.container)
    for node in found.nodes:
        places.setdefault(node.host, node.path)
    return places


def _inside(found: Found, places: Mapping[str, str]) -> Found:
    return replace(
        found,
        mounts=tuple(replace(mount, host=places[mount.host]) for mount in found.mounts),
        nodes=tuple(replace(node, host=places[node.host]) for node in found.nodes),
    )
