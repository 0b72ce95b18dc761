# SPDX-License-Identifier: Apache-2.0
"""Mode management: all nodes of the driver and its files, for containers that manage the GPUs.

Such containers repair what is broken, so NVML is not asked: the nodes in /dev count, whatever state
their GPUs are in. `/proc/driver/nvidia/params` is not masked, so that they may make nodes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind.operation import compat
from gpubind_cdi import driver as drivers
from gpubind_cdi import select
from gpubind_cdi.discover import files as plain_files
from gpubind_cdi.discover import nodes, shared
from gpubind_cdi.discover.found import Found, together
from gpubind_cdi.libraries import Use
from gpubind_cdi.modes import groups
from gpubind_cdi.modes.mode import Described

if TYPE_CHECKING:
    from gpubind_cdi.driver import Driver
    from gpubind_cdi.modes.mode import Host, Options

NODES = (
    "/dev/nvidia*",
    "/dev/nvidia-caps/nvidia-cap[0-9]*",
    "/dev/nvidia-caps-imex-channels/channel[0-9]*",
)
OTHERS = ("nvidia-fs", "nvidia-nvswitch", "nvidia-nvlink")
"""How names of nodes begin that are not the GPU driver's, or have a mode of their own."""

USE = Use(why="node of the driver")


def describe(host: Host, options: Options) -> Described:
    """Give the driver's files, and all its nodes as the device `all`.

    Raises ToolkitError where there is no node or no driver, UsageError for options that name
    nothing.
    """
    groups.only_all(options, "management")
    found = together(nodes.matching(host.dev_root, pattern, USE) for pattern in NODES)
    own = [node for node in found.nodes if not node.path.startswith(_others())]
    if not own:
        hint = "load the kernel module nvidia and run nvidia-modprobe, or give --dev-root"
        raise groups.none(host, "management", NODES[0], hint)
    driver = drivers.look(host, options.library_search_paths, reported="")
    return Described(
        common=_common(options, driver),
        devices={(select.ALL,): Found(nodes=tuple(own))},
        operations=(compat.CudaCompat(driver.version, ""),),
        driver=driver,
    )


def _others() -> tuple[str, ...]:
    return tuple(f"/dev/{name}" for name in OTHERS)


def _common(options: Options, driver: Driver) -> Found:
    """Give the driver's libraries, programs, firmware and sockets; no program for a display."""
    programs = plain_files.programs(driver)
    kept = (mount for mount in programs.mounts if mount.use.capabilities != ("display",))
    parts = [
        shared.discover(driver, vendor_neutral=options.vendor_neutral),
        replace(programs, mounts=tuple(kept)),
        plain_files.firmware(driver),
    ]
    if options.ipc:
        parts.append(plain_files.sockets(driver))
    return together(parts)
