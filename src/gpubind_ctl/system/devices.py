# SPDX-License-Identifier: Apache-2.0
"""Which device nodes the loaded driver wants, with numbers, modes and owners: as the kernel says.

Majors are in /proc/devices, the driver's wishes for its nodes in /proc/driver/nvidia/params, and
each capability's minor in its own file below /proc/driver/nvidia/capabilities.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind_cdi import driver
from gpubind_cdi.lookup import files

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpubind.root import Root

PARAMETERS = "/proc/driver/nvidia/params"
CAPABILITIES = "/proc/driver/nvidia/capabilities"
GPUS = "/proc/driver/nvidia/gpus"
GPU_NAMES = ("nvidia", "nvidia-frontend")  # since 550, before
UVM, CAPS = "nvidia-uvm", "nvidia-caps"
CONTROL = (("nvidiactl", 255), ("nvidia-modeset", 254))
UVM_NODES = (("nvidia-uvm", 0), ("nvidia-uvm-tools", 1))
MAX_DEPTH = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A node: its path below the root of /dev, its numbers, and how it should be."""

    path: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.path} c {self.major} {self.minor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the driver wants of its nodes; with `modify` false it wants nobody to touch them."""

    modify: bool
    mode: int
    uid: int
    gid: int


def majors(system: Root) -> dict[str, int]:
    """Give the majors of character devices by the names of their drivers.

    Raises ToolkitError where no NVIDIA driver is among them.
    """
    found = driver.majors(system)
    if not any(name in found for name in (*GPU_NAMES, UVM, CAPS)):
        raise ToolkitError(
            f"no NVIDIA driver is in {system.outer(driver.DEVICES)}: no kernel module is loaded",
            identifier="DRV-NOT-LOADED",
            hint="run modprobe nvidia, or give --load-kernel-modules",
        )
    return found


def settings(system: Root) -> Settings:
    """Give what the driver wants; where it says nothing, what it is built with."""
    rows = (line.partition(":") for line in files.text(system, PARAMETERS).splitlines())
    said = {key.strip(): value.strip() for key, _, value in rows}
    return Settings(
        modify=_number(said, "ModifyDeviceFiles", 1) != 0,
        mode=_number(said, "DeviceFileMode", 0o666) & 0o777,
        uid=_number(said, "DeviceFileUID", 0),
        gid=_number(said, "DeviceFileGID", 0),
    )


def control(system: Root) -> Iterator[Wanted]:
    """Give the control nodes, those of capabilities included, as far as their modules are there."""
    known, wish = majors(system), settings(system)
    yield from _plain(_gpu_major(known), CONTROL, wish)
    yield from _plain(known.get(UVM), UVM_NODES, wish)
    if CAPS in known:
        for file in _files(system, CAPABILITIES, MAX_DEPTH):
            wanted = _capability(system, file, known[CAPS])
            if wanted is not None:
                yield wanted


def gpus(system: Root) -> Iterator[Wanted]:
    """Give the node of each GPU that the kernel module lists."""
    known, wish = majors(system), settings(system)
    for address in files.listed(system, GPUS):
        rows = files.text(system, f"{GPUS}/{address}/information").splitlines()
        said = {
            key.strip(): value.strip() for key, _, value in (row.partition(":") for row in rows)
        }
        minor = _number(said, "Device Minor", -1)
        if minor >= 0:
            yield from _plain(_gpu_major(known), ((f"nvidia{minor}", minor),), wish)


def every_capability(system: Root) -> Iterator[Wanted]:
    """Give the node of each capability there can ever be, whether it exists now or not."""
    major = majors(system).get(CAPS)
    if major is not None:
        for minor in sorted(set(driver.mig_minors(system).values())):
            path = f"/dev/nvidia-caps/nvidia-cap{minor}"
            yield Wanted(path=path, major=major, minor=minor, mode=0o444, uid=0, gid=0)


def _gpu_major(known: Mapping[str, int]) -> int | None:
    return next((known[name] for name in GPU_NAMES if name in known), None)


def _plain(
    major: int | None, nodes: tuple[tuple[str, int], ...], wish: Settings
) -> Iterator[Wanted]:
    if major is None:
        return
    for name, minor in nodes:
        path = f"/dev/{name}"
        yield Wanted(
            path=path, major=major, minor=minor, mode=wish.mode, uid=wish.uid, gid=wish.gid
        )


def _capability(system: Root, file: str, major: int) -> Wanted | None:
    rows = (row.partition(":") for row in files.text(system, file).splitlines())
    said = {key.strip(): value.strip() for key, _, value in rows}
    minor = _number(said, "DeviceFileMinor", -1)
    if minor < 0:
        return None
    mode = _number(said, "DeviceFileMode", 0o400) & 0o777
    path = f"/dev/nvidia-caps/nvidia-cap{minor}"
    return Wanted(path=path, major=major, minor=minor, mode=mode, uid=0, gid=0)


def _files(system: Root, folder: str, depth: int) -> Iterator[str]:
    """Give the files below a folder, not deeper than `depth`."""
    for name in files.listed(system, folder):
        path = f"{folder}/{name}"
        try:
            mode = system.lstat(path).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode):
            yield path
        elif stat.S_ISDIR(mode) and depth > 0:
            yield from _files(system, path, depth - 1)


def _number(said: Mapping[str, str], name: str, otherwise: int) -> int:
    word = said.get(name, "")
    return int(word) if word.isascii() and word.isdigit() and len(word) < 11 else otherwise
