# SPDX-License-Identifier: Apache-2.0
"""The driver in a root: its version, where its libraries are, and what the kernel says of it."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind import elf
from gpubind.errors import ToolkitError
from gpubind_cdi import gpu, simulated
from gpubind_cdi.lookup import files, library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind.root import Root
    from gpubind_cdi.modes.mode import Host

VERSION = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}", re.ASCII)
KERNEL_FILE = "/proc/driver/nvidia/version"
GPUS = "/proc/driver/nvidia/gpus"
DEVICES = "/proc/devices"
MIG_MINORS = "/proc/driver/nvidia-caps/mig-minors"
NAMED_AFTER_VERSION = ("libcuda.so.", "libnvidia-ml.so.")

# What runs on a machine: its own libraries, and the 32-bit ones it can run too.
NATIVE = {"x86_64": elf.X86_64, "aarch64": elf.AARCH64}
COMPAT32 = {"x86_64": elf.I386}


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A driver and its three roots: its files, the device nodes, the kernel's /proc and /sys.

    `machine` is as uname(2) gives it.
    """

    root: Root
    dev_root: Root
    system: Root
    version: str
    machine: str
    folders: tuple[library.Folder, ...]


def look(host: Host, search: Sequence[str] = (), reported: str | None = None) -> Driver:
    """Give the driver of a host; `search` replaces the usual folders. Errors as for `version`.

    `reported` is its version where that is known; by default NVML is asked.
    """
    folders = library.folders(host.root, search)
    if reported is None:
        reported = host.gpus.driver_version()
    return Driver(
        root=host.root,
        dev_root=host.dev_root,
        system=host.system,
        version=version(host.root, host.system, folders, reported),
        machine=host.machine,
        folders=folders,
    )


def holds_system(root: Root) -> bool:
    """Tell whether a root has its own /proc and /sys of a driver, as a simulated node has.

    Such a node's are its own even where its module is unloaded.
    """
    return root.exists(KERNEL_FILE) or simulated.is_simulated(root)


def kernel_version(system: Root) -> str:
    """Give the version of the loaded kernel module; empty where none is loaded."""
    for line in files.text(system, KERNEL_FILE).splitlines():
        if line.startswith("NVRM version:"):
            words = (word for word in line.split() if VERSION.fullmatch(word))
            return next(words, "")
    return ""


def addresses(system: Root) -> tuple[str, ...]:
    """Give the PCI addresses of the GPUs that the kernel module serves, working or not."""
    found = []
    for name in files.listed(system, GPUS):
        with contextlib.suppress(ValueError):
            found.append(gpu.pci_address(name))
    return tuple(found)


def machine(system: Root) -> str:
    """Give the machine the kernel module is for, as uname(2) gives it; by default this one."""
    line = files.text(system, KERNEL_FILE).partition("\n")[0]
    return next((word for word in line.split() if word in NATIVE), os.uname().machine)


def versions(places: Sequence[library.Folder]) -> tuple[str, ...]:
    """Give the versions that libraries' names speak of: of libcuda first, then of NVML."""
    found = (
        name.removeprefix(prefix)
        for prefix in NAMED_AFTER_VERSION
        for folder in places
        for name in sorted(folder.names)
        if name.startswith(prefix)
    )
    return tuple(dict.fromkeys(text for text in found if VERSION.fullmatch(text)))


def version(root: Root, system: Root, places: Sequence[library.Folder], reported: str = "") -> str:
    """Give the driver's version: the one reported, else the kernel module's, else the libraries'.

    Raises ToolkitError where there are no libraries of that version, or none of any.
    """
    kernel = kernel_version(system)
    present = versions(places)
    if not present:
        raise ToolkitError(
            f"no NVIDIA driver in {root.path}: no libcuda.so or libnvidia-ml.so of any version",
            identifier="DRV-NOT-FOUND",
            hint="install the driver there, or give its place with --driver-root",
        )
    if reported and not VERSION.fullmatch(reported):
        raise ToolkitError(f"{reported!r} is no driver version", identifier="DRV-VERSION")
    if kernel and reported and kernel != reported:
        raise _mismatch(f"the kernel module is {kernel}, NVML says {reported}")
    running = reported or kernel
    if running and running not in present:
        others = ", ".join(present)
        raise _mismatch(f"the driver is {running}, the libraries in {root.path} are {others}")
    return running or _linked(root, places, present)


def majors(system: Root) -> dict[str, int]:
    """Give the major numbers of character devices, by their drivers' names in /proc/devices."""
    characters = files.text(system, DEVICES).partition("Block devices:")[0]
    rows = (line.split() for line in characters.splitlines())
    return {
        row[1]: int(row[0])
        for row in rows
        if len(row) == 2 and row[0].isascii() and row[0].isdigit() and len(row[0]) < 8
    }


def mig_minors(system: Root) -> dict[str, int]:
    """Give the minor number of each MIG capability, by its name such as `gpu0/gi1/access`."""
    minors = {}
    for line in files.text(system, MIG_MINORS).splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isascii() and words[1].isdigit() and len(words[1]) < 8:
            minors[words[0]] = int(words[1])
    return minors


def _linked(root: Root, places: Sequence[library.Folder], present: Sequence[str]) -> str:
    """Of several versions give the one that libcuda.so.1 leads to, else the newest."""
    for folder in places:
        for anchor in library.ANCHORS:
            file = files.find(root, f"{folder.path}/{anchor}")
            base = os.path.basename(file.path) if file else ""
            for candidate in present:
                if base.endswith(f".so.{candidate}"):
                    return candidate
    return max(present, key=lambda text: [int(part) for part in text.split(".")])


def _mismatch(message: str) -> ToolkitError:
    return ToolkitError(
        f"driver versions differ: {message}",
        identifier="DRV-MISMATCH",
        hint="reboot, or unload and load the nvidia kernel modules",
    )
