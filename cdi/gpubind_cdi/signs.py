# SPDX-License-Identifier: Apache-2.0
"""Signs of what a generated spec depends on: looked at later, they tell whether it still holds.

Times of files in /proc and /dev mean nothing, so the signs are what does: which names a folder
there has, what number and mode a node has, what the kernel module says of its version, and stamps
of the libraries and of all else that was read.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from gpubind import jit
from gpubind.errors import ToolkitError
from gpubind_cdi import driver as drivers
from gpubind_cdi import libraries, simulated, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gpubind.root import Root
    from gpubind_cdi.generate import Generated

    Signs = dict[str, dict[str, Any]]

GPUS = drivers.GPUS
CAPABILITIES = "/proc/driver/nvidia/capabilities"
FOLDERS = ("/dev/dri", "/dev/nvidia-caps")  # nodes that come and go with GPUs and their parts
OTHERS = (
    *("/dev/nvidia*", "/dev/nvidia-caps-imex-channels/*", "/dev/infiniband/*"),
    *("/dev/gdrdrv*", "/dev/dxg*"),
)
"""Nodes of the other kinds, whose names alone tell."""

LOOKS = 4
_CTIME = 3  # in a stamp


def matches(pattern: str) -> list[str]:
    """Give the sorted names in a folder that begin as the pattern does before its `*`."""
    folder, _, start = pattern.removesuffix("*").rpartition("/")
    return [name for name in jit.names(folder) or () if name.startswith(start)]


KINDS: Mapping[str, Callable[[str], Any]] = {**jit.SIGNS, "matches": matches}
"""How each kind of sign is looked at; a container's start knows only those of `gpubind.jit`."""


def settled(
    look: Callable[[], Generated],
    root: Root,
    nodes: Root,
    system: Root,
    more: Iterable[str] = (),
    clock: Callable[[], int] = time.time_ns,
) -> tuple[Generated, Signs]:
    """Give what `look` generates from these roots, and signs that were the same all the while.

    `more` are further files it depends on. Looked at again where something changed meanwhile, or
    may have by the times of files; `clock` gives the time, in ns. Raises ToolkitError DRV-CHANGING
    where it never rests.
    """
    before: Signs = {}
    for _ in range(LOOKS):
        generated, before, rests = watched(look, root, nodes, system, more, clock, before)
        if rests:
            return generated, before
    raise ToolkitError(
        f"the driver in {root.path} changed each of {LOOKS} times it was looked at",
        identifier="DRV-CHANGING",
        hint="wait until it is installed or its GPUs are set up, then start again",
    )


def watched(
    look: Callable[[], Generated],
    root: Root,
    nodes: Root,
    system: Root,
    more: Iterable[str] = (),
    clock: Callable[[], int] = time.time_ns,
    before: Signs | None = None,
) -> tuple[Generated, Signs, bool]:
    """Give what one `look` generates, its signs, and whether those held all the while.

    `before` are the signs of an earlier look, the rest is as for `settled`.
    """
    began = clock()
    version, gpus = system.outer(drivers.KERNEL_FILE), system.outer(GPUS)
    known = (jit.text(version), jit.names(gpus))
    generated = look()
    signs = taken(generated, root, nodes, system, more)
    same = known == (signs["texts"][version], signs["names"][gpus])
    return generated, signs, same and (signs == before or not _moved(signs, began))


def taken(
    generated: Generated, root: Root, nodes: Root, system: Root, more: Iterable[str] = ()
) -> Signs:
    """Give the signs of all that the generated spec depends on, by kind and host path."""
    facts = generated.sidecar
    folders = [system.outer(GPUS), *(nodes.outer(name) for name in FOLDERS)]
    for gpu in facts["gpus"]:
        folders += _partitions(system.outer(f"{CAPABILITIES}/gpu{gpu['minor']}/mig"))
    files = [path for path, *_ in facts["inputs"]]
    files += [root.outer(name) for name in (*facts["folders"], simulated.FILE)]
    paths = {
        "texts": [system.outer(drivers.KERNEL_FILE)],
        "names": folders,
        "nodes": [*_nodes(generated, root, nodes)],
        "stamps": [*files, *more],
        "matches": [nodes.outer(pattern) for pattern in OTHERS],
    }
    return {kind: {path: look(path) for path in paths[kind]} for kind, look in KINDS.items()}


def again(signs: Mapping[str, Mapping[str, Any]]) -> Signs:
    """Give the same signs as they are now."""
    return {kind: {path: KINDS[kind](path) for path in signs[kind]} for kind in signs}


def difference(signs: Mapping[str, Mapping[str, Any]]) -> str:
    """Give the host path of a sign that is another now, empty where all are as they were."""
    for kind, look in KINDS.items():
        for path, known in signs.get(kind, {}).items():
            if look(path) != known:
                return path
    return ""


def _partitions(folder: str) -> Iterator[str]:
    """Give the folder of a GPU's instances and those of the instances' own parts."""
    yield folder
    yield from (f"{folder}/{name}" for name in jit.names(folder) or () if name.startswith("gi"))


def _nodes(generated: Generated, root: Root, nodes: Root) -> Iterator[str]:
    """Give the nodes and sockets there are and those there could be."""
    spec = generated.spec
    for edits in (spec.container_edits, *(device.container_edits for device in spec.devices)):
        yield from (node.host_path or node.path for node in edits.device_nodes)
    table = libraries.table()
    yield from (nodes.outer(path) for path in table.nodes)
    yield from (nodes.outer(f"/dev/nvidia{gpu['minor']}") for gpu in generated.sidecar["gpus"])
    yield from (root.outer(path) for use in table.sockets for path in use.files)


def _moved(signs: Signs, began: int) -> bool:
    """Tell whether anything may have changed since the look began, by the clock of the kernel."""
    times = [stamp[_CTIME] for stamp in signs["stamps"].values() if stamp]
    for path, known in signs["nodes"].items():
        if known is not None:
            try:
                times.append(os.stat(path).st_ctime_ns)
            except OSError:
                return True
    return any(moment >= began - sources.TICK_NS for moment in times)
