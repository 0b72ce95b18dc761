# SPDX-License-Identifier: Apache-2.0
"""The driver's other files: programs, X modules, firmware, configuration, sockets."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from gpubind_cdi import libraries
from gpubind_cdi.discover.found import (
    READ_ONLY,
    SHARED,
    Found,
    Link,
    absent,
    mounted,
    together,
)
from gpubind_cdi.libraries import Use
from gpubind_cdi.lookup import files, library

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpubind_cdi.driver import Driver

PROGRAM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
MODULE_FOLDERS = ("drivers", "extensions", "updates/drivers", "updates/extensions")
MODULE_BASES = ("/usr/lib/xorg", "/usr/lib64/xorg", "/usr/X11R6/lib", "/usr/X11R6/lib64")
CONFIG_FOLDERS = ("/etc", "/usr/local/share", "/usr/share", "/run/opengl-driver/share")
VULKAN_FOLDERS = (*CONFIG_FOLDERS, "")  # some container hosts keep it at the root's top
FIRMWARE_PATH = "/sys/module/firmware_class/parameters/path"
RELEASE = "/proc/sys/kernel/osrelease"


def programs(driver: Driver) -> Found:
    """Give the driver's programs, mounted by the name they are found under."""
    return together(_programs(driver))


def _programs(driver: Driver) -> Iterator[Found]:
    for name, use in libraries.table().binaries.items():
        places = (f"{folder}/{name}" for folder in PROGRAM_FOLDERS)
        file = files.first(driver.root, places, files.is_program)
        if file is None:
            yield absent(name, use)
        else:
            yield mounted(driver.root, file, file.name, use, READ_ONLY)


def modules(driver: Driver, driver_folders: Sequence[str]) -> Found:
    """Give the X server's modules that belong to the driver."""
    return together(_modules(driver, driver_folders))


def _modules(driver: Driver, driver_folders: Sequence[str]) -> Iterator[Found]:
    places = [
        *(
            f"{folder}/{inner}"
            for folder in driver_folders
            for inner in ("nvidia/xorg", *(f"xorg/modules/{last}" for last in MODULE_FOLDERS))
        ),
        *(f"{base}/modules/{last}" for base in MODULE_BASES for last in MODULE_FOLDERS),
    ]
    for pattern, use in libraries.table().modules.items():
        name = pattern.format(version=driver.version)
        file = files.first(driver.root, (f"{place}/{name}" for place in places))
        if file is None:
            yield absent(name, use)
            continue
        yield mounted(driver.root, file, file.name, use, READ_ONLY)
        if use.link:
            folder = file.name.rpartition("/")[0]
            link = Link(
                link=f"{folder}/{use.link}",
                target=name,
                capabilities=use.capabilities,
                why="the X server loads it by that name",
            )
            yield Found(links=(link,))


def firmware(driver: Driver) -> Found:
    """Give the firmware files of the driver's version from all folders the kernel looks in."""
    return together(_firmware(driver))


def _firmware(driver: Driver) -> Iterator[Found]:
    release = files.text(driver.system, RELEASE).strip()
    own = files.text(driver.system, FIRMWARE_PATH).strip()
    places = []
    if own.startswith("/") and own.isprintable():
        places = [own, library.inner(driver.root, driver.system.outer(own))]
    if release and "/" not in release:
        places += [f"/lib/firmware/updates/{release}", f"/lib/firmware/{release}"]
    places += ["/lib/firmware/updates", "/lib/firmware"]
    for pattern, use in libraries.table().firmware.items():
        folder, _, base = pattern.format(version=driver.version).rpartition("/")
        found = [
            file
            for place in places
            for file in files.matching(driver.root, f"{place.rstrip('/')}/{folder}", [base])
        ]
        yield from (mounted(driver.root, file, file.name, use, READ_ONLY) for file in found)
        if not found:
            yield absent(f"{folder}/{base}", use)


def configs(driver: Driver, given: Sequence[str] = ()) -> Found:
    """Give configuration files, looked for in `given` or where each belongs."""
    return together(_configs(driver, tuple(given)))


def _configs(driver: Driver, given: tuple[str, ...]) -> Iterator[Found]:
    for pattern, use in libraries.table().configs.items():
        place = pattern.format(machine=driver.machine)
        name = place.removeprefix("/etc/").removeprefix("/usr/share/")
        usual = VULKAN_FOLDERS if name.startswith("vulkan/") else CONFIG_FOLDERS
        file = files.first(driver.root, (f"{folder}/{name}" for folder in given or usual))
        if file is None:
            yield absent(place, use)
        else:
            yield mounted(driver.root, file, place, use, READ_ONLY)


def sockets(driver: Driver) -> Found:
    """Give the sockets of the driver's daemons."""
    return together(_sockets(driver))


def _sockets(driver: Driver) -> Iterator[Found]:
    for use in libraries.table().sockets:
        file = files.first(driver.root, use.files, stat.S_ISSOCK)
        if file is None:
            yield absent(use.files[0], use)
        else:
            found = mounted(driver.root, file, file.name, use, SHARED)
            yield Found(mounts=found.mounts)


def mps_pipe(driver: Driver, folder: str) -> Found:
    """Give the pipe folder of the CUDA multi-process service, which was asked for."""
    use = Use(capabilities=("compute",), required=True, why="pipes of the multi-process service")
    file = files.find(driver.root, folder, stat.S_ISDIR)
    if file is None:
        return absent(folder, use, "no such folder")
    return Found(mounts=mounted(driver.root, file, file.name, use, SHARED).mounts)
