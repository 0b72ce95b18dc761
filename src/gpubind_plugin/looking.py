# SPDX-License-Identifier: Apache-2.0
"""One look at the node: where the driver is, which GPUs it serves, what the kernel says of them.

This process may run in a container that has the host's driver root under another name. Where that
folder has no driver, the place in it is looked at where the GPU operator's driver container shows
its own root; then the host's driver root by its own name, for a process in no container; last this
process's own root.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING

from gpubind_cdi import driver as drivers
from gpubind_cdi import inventory, simulated
from gpubind_cdi.discover import csv, wsl
from gpubind_cdi.lookup import files, library
from gpubind_cdi.modes import imex, table
from gpubind_cdi.modes.mode import Host

from gpubind.errors import ToolkitError
from gpubind.root import Root
from gpubind_plugin.facts import NVML, TEGRA, WSL, Facts, Roots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_cdi.gpu import GpuSource

    from gpubind_plugin.config import Config, Imex

OPERATOR = "/run/nvidia/driver"
CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
OTHERS = (csv.RELEASE, wsl.NODE)  # what speaks for a driver of another kind
PLATFORMS = {"nvml": NVML, "wsl": WSL, "csv": TEGRA}
NUMBER = re.compile(r"[0-9]{1,6}", re.ASCII)


def look(config: Config) -> Facts:
    """Give what is there now.

    Raises ToolkitError as `gpubind_cdi.nvml_process.source` where there is no driver or nobody
    says which GPUs there are, K8S-IMEX where a channel is required and not there; OSError where a
    root can't be opened.
    """
    places = roots(config)
    with opened(places) as host:
        platform = _platform(config.device_discovery_strategy, host)
        found = _inventory(host, platform)
        nodes = host.dev_root
        return Facts(
            platform=platform,
            inventory=found,
            numa=dict(_numa(host.system, found)),
            minors=drivers.mig_minors(host.system),
            control=tuple(name for name in CONTROL if _is_node(nodes, name)),
            channels=_channels(config.imex, nodes),
            roots=places,
        )


def roots(config: Config) -> Roots:
    """Give where driver and /dev are, as this process sees them and as the host does.

    Where no place has a driver it is the first that is there.
    """
    inside, outside = config.container_driver_root, config.driver_root
    candidates = [
        (inside, outside),
        (inside.rstrip("/") + OPERATOR, outside.rstrip("/") + OPERATOR),
        (outside, outside),
        ("/", "/"),
    ]
    there = [pair for pair in candidates if os.path.isdir(pair[0])]
    driver, host_driver = next((pair for pair in there if _has_driver(pair[0])), there[0])
    own = driver if _has(driver, CONTROL[0]) or _has(driver, wsl.NODE) else "/"
    host_dev = config.dev_root or (host_driver if own == driver else "/")
    return Roots(driver=driver, dev=own, host_driver=host_driver, host_dev=host_dev)


@contextlib.contextmanager
def opened(places: Roots) -> Iterator[Host]:
    """Open the roots; /proc and /sys are a simulated node's own, else this machine's."""
    with Root(places.driver) as root, Root(places.dev) as nodes, Root("/") as here:
        system = next((one for one in (root, nodes) if drivers.holds_system(one)), here)
        yield Host(
            root=root,
            dev_root=nodes,
            system=system,
            gpus=source(root, nodes),
            machine=drivers.machine(system),
        )


def source(root: Root, nodes: Root) -> GpuSource:
    """Give who says which GPUs there are: a simulated node's inventory, or the root's NVML."""
    for known in (root, nodes):
        if simulated.is_simulated(known):
            return simulated.Simulated(known)
    from gpubind_cdi import nvml_process

    return inventory.Source(lambda: nvml_process.source(root).inventory())


def _platform(strategy: str, host: Host) -> str:
    """Give the platform the strategy names; `auto` is what the node's files and GPUs speak for."""
    if strategy != "auto":
        return strategy
    mode, _ = table.resolve(table.AUTO, host)
    return PLATFORMS.get(mode.name, NVML)


def _inventory(host: Host, platform: str) -> inventory.Inventory:
    if platform == NVML:
        host.gpus.gpus()
    with contextlib.suppress(ToolkitError):
        return inventory.Inventory(
            driver=host.gpus.driver_version(),
            cuda=host.gpus.cuda_version(),
            gpus=tuple(host.gpus.gpus()),
            faults=tuple(host.gpus.faults()),
            links=tuple(host.gpus.links()) if isinstance(host.gpus, inventory.Source) else (),
        )
    return inventory.Inventory(driver="", cuda="", gpus=())


def _numa(system: Root, found: inventory.Inventory) -> Iterator[tuple[str, int]]:
    for gpu in found.gpus:
        said = files.text(system, f"/sys/bus/pci/devices/{gpu.pci}/numa_node").strip()
        if gpu.pci and NUMBER.fullmatch(said):
            yield gpu.pci, int(said)


def _channels(wanted: Imex, nodes: Root) -> tuple[int, ...]:
    names = {number: f"{imex.CHANNELS}{number}" for number in wanted.channel_ids}
    there = tuple(number for number, name in names.items() if _is_node(nodes, name))
    if wanted.required and len(there) < len(names):
        absent = next(name for number, name in names.items() if number not in there)
        raise ToolkitError(
            f"the IMEX channel {nodes.outer(absent)} is required and not there",
            identifier="K8S-IMEX",
            hint="load the kernel module with NVreg_CreateImexChannel0=1",
        )
    return there


def _is_node(root: Root, name: str) -> bool:
    return files.find(root, name, stat.S_ISCHR) is not None


def _has(folder: str, name: str) -> bool:
    try:
        with Root(folder) as root:
            return root.exists(name)
    except OSError:
        return False


def _has_driver(folder: str) -> bool:
    try:
        with Root(folder) as root:
            return any(map(root.exists, OTHERS)) or bool(drivers.versions(library.folders(root)))
    except OSError:
        return False
