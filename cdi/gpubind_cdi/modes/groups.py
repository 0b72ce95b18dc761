# SPDX-License-Identifier: Apache-2.0
"""Modes gds, mofed, gdrcopy and nvswitch: groups of nodes that a container gets whole or not.

Each is one device `all`. The nodes are those of kernel modules that not every host has; with some
go files of the host.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError, UsageError
from gpubind_cdi import select
from gpubind_cdi.discover import nodes
from gpubind_cdi.discover.found import READ_ONLY, Found, absent, mounted, together
from gpubind_cdi.libraries import Use
from gpubind_cdi.lookup import files
from gpubind_cdi.modes.mode import Described, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_cdi.modes.mode import Host, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Nodes that belong together: patterns of their paths, of which the first must be there.

    `files` are host files or folders that go with them, `hint` what to do where there are none.
    """

    name: str
    about: str
    nodes: tuple[str, ...]
    files: tuple[str, ...] = ()
    hint: str


GROUPS = (
    Group(
        name="gds",
        about="GPUDirect Storage",
        nodes=("/dev/nvidia-fs[0-9]*", "/dev/nvidia-fs"),
        files=("/run/udev", "/etc/cufile.json"),
        hint="load the kernel module nvidia-fs",
    ),
    Group(
        name="mofed",
        about="InfiniBand and RDMA",
        nodes=("/dev/infiniband/uverbs[0-9]*", "/dev/infiniband/rdma_cm"),
        hint="load the kernel module ib_uverbs; 'rdma link' shows the adapters",
    ),
    Group(
        name="gdrcopy",
        about="copies between CPU and GPU memory through the PCI bus",
        nodes=("/dev/gdrdrv",),
        hint="load the kernel module gdrdrv",
    ),
    Group(
        name="nvswitch",
        about="NVSwitches",
        nodes=("/dev/nvidia-nvswitch[0-9]*", "/dev/nvidia-nvswitchctl"),
        hint="the driver makes the nodes of the switches it finds",
    ),
)


def modes() -> Iterator[Mode]:
    """Give the mode of each group; its class is its name."""
    for group in GROUPS:
        yield Mode(
            name=group.name,
            device_class=group.name,
            asks_gpus=False,
            describe=partial(describe, group),
        )


def describe(group: Group, host: Host, options: Options) -> Described:
    """Give a group of nodes as the device `all`.

    Raises ToolkitError where the host has none, UsageError where another device is asked for.
    """
    only_all(options, group.name)
    use = Use(required=True, why=group.about)
    parts = [nodes.matching(host.dev_root, pattern, use) for pattern in group.nodes]
    if not parts[0].nodes:
        raise none(host, group.name, group.nodes[0], group.hint)
    common = together(_file(host, name, group) for name in group.files)
    return Described(common=common, devices={(select.ALL,): together(parts)})


def only_all(options: Options, name: str) -> None:
    """Raise UsageError for a device that a mode without single devices does not have."""
    for wanted in options.device_ids:
        if wanted not in (select.ALL, select.NONE):
            raise UsageError(
                f"no device {wanted!r}", identifier="USE-DEVICE", hint=f"mode {name} has only all"
            )


def none(host: Host, name: str, pattern: str, hint: str) -> ToolkitError:
    """Give the error for a host without any node of a mode's kind."""
    return ToolkitError(
        f"nothing to describe for mode {name}: no character device {host.dev_root.outer(pattern)}",
        identifier="GEN-NO-NODES",
        hint=hint,
    )


def _file(host: Host, name: str, group: Group) -> Found:
    """Give a file or folder: the nodes' root has it, or the driver's root does."""
    use = Use(why=f"for {group.about}")
    for root in (host.dev_root, host.root):
        file = files.find(root, name, lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode))
        if file is not None:
            found = mounted(root, file, file.name, use, READ_ONLY)
            # What is in a folder changes while the host runs, so its stamp says nothing.
            return found if stat.S_ISREG(file.status.st_mode) else Found(mounts=found.mounts)
    return absent(name, use)
