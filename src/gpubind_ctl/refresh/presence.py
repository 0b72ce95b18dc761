# SPDX-License-Identifier: Apache-2.0
"""Whether a driver is there, by what lies on the file system: no library of the driver is asked.

A driver that answers nonsense, or not at all, is sick and still there. It is gone where one of
these says so: its root, its libraries, its kernel module's /proc, or the GPUs listed in there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpubind_cdi import driver, signs
from gpubind_cdi.lookup import files, library

from gpubind_ctl import roots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind.root import Root
    from gpubind_ctl.refresh.job import Job
    from gpubind_ctl.roots import Opened

NVIDIA = "0x10de"
DISPLAY = re.compile(r"0x03[0-9a-f]{4}")
PCI = "/sys/bus/pci/devices"
OURS = ("", "nvidia")  # drivers of a GPU that is, or may yet become, the driver's
WSL = "/dev/dxg"
TEGRA = "/etc/nv_tegra_release"
CONTROL = "/dev/nvidiactl"
BY_NODES = {
    "wsl": "/dev/dxg*",
    "gds": "/dev/nvidia-fs*",
    "mofed": "/dev/infiniband/*",
    "gdrcopy": "/dev/gdrdrv*",
    "nvswitch": "/dev/nvidia-nvswitch*",
    "mig-config": "/dev/nvidia-caps/nvidia-cap*",
    "mig-monitor": "/dev/nvidia-caps/nvidia-cap*",
    "imex": "/dev/nvidia-caps-imex-channels/*",
}
"""Modes whose devices are these nodes and nothing else."""


def gone(job: Job) -> str:
    """Give why the driver is gone, as a clause; empty where nothing speaks for that."""
    return next(_lacks(job, wait=False), "")


def lacking(job: Job) -> str:
    """Give why it is too early to look at the driver, as a clause; empty where it is not."""
    return next(_lacks(job, wait=True), "")


def hardware(job: Job) -> bool:
    """Tell whether this host has a GPU that a driver could serve, now or soon."""
    try:
        with roots.opened(job.driver_root, job.dev_root) as found:
            return _has_gpu(found.system) or found.nodes.exists(WSL) or _is_tegra(found)
    except OSError:
        with roots.opened("/") as found:
            return _has_gpu(found.system)


def _lacks(job: Job, *, wait: bool) -> Iterator[str]:
    try:
        with roots.opened(job.driver_root, job.dev_root) as found:
            yield from _parts(job, found, wait=wait)
    except (FileNotFoundError, NotADirectoryError) as error:
        yield f"{error.filename} is no folder"


def _parts(job: Job, found: Opened, *, wait: bool) -> Iterator[str]:
    """Give what is not there, the most telling first."""
    mode = job.options.mode.lower()
    if mode in BY_NODES:
        pattern = found.nodes.outer(BY_NODES[mode])
        if not signs.matches(pattern):
            yield f"there is no {pattern}"
        return
    if mode == "csv" or (mode == "auto" and (found.nodes.exists(WSL) or _is_tegra(found))):
        return
    if not found.system.exists(driver.KERNEL_FILE):
        yield "the kernel module nvidia is not loaded"
    elif not files.listed(found.system, signs.GPUS):
        yield f"there is no GPU in {found.system.outer(signs.GPUS)}"
    folders = library.folders(found.driver, job.options.library_search_paths)
    if not driver.versions(folders):
        yield f"no library of the driver is in {found.driver.path}"
    if wait and not found.nodes.exists(CONTROL):
        yield f"there is no {found.nodes.outer(CONTROL)}"


def _has_gpu(system: Root) -> bool:
    """Tell whether a GPU on the PCI bus has no other driver, such as one for virtual machines."""
    for address in files.listed(system, PCI):
        folder = f"{PCI}/{address}"
        vendor = files.text(system, f"{folder}/vendor").strip()
        kind = files.text(system, f"{folder}/class").strip()
        if vendor == NVIDIA and DISPLAY.fullmatch(kind) and _bound(system, folder) in OURS:
            return True
    return False


def _bound(system: Root, folder: str) -> str:
    """Give the name of the kernel's driver that has a device, empty where none has."""
    try:
        return system.readlink(f"{folder}/driver").rpartition("/")[2]
    except OSError:
        return ""


def _is_tegra(found: Opened) -> bool:
    return found.driver.exists(TEGRA) or found.system.exists(TEGRA)
