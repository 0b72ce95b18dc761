# SPDX-License-Identifier: Apache-2.0
"""Device nodes: the driver's control nodes, and those of one GPU or one MIG device."""

from __future__ import annotations

import fnmatch
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind_cdi import driver as drivers
from gpubind_cdi import libraries
from gpubind_cdi.discover.found import Found, Link, Node, absent, together
from gpubind_cdi.lookup import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpubind.root import Root
    from gpubind_cdi.driver import Driver
    from gpubind_cdi.gpu import Gpu, Mig
    from gpubind_cdi.libraries import Use

GPU_NAMES = ("nvidia", "nvidia-frontend")  # in /proc/devices since driver 550, before
CAPS_NAMES = ("nvidia-caps",)
OWNERS = (
    ("/dev/nvidia-uvm*", ("nvidia-uvm",)),
    ("/dev/nvidia-caps/*", CAPS_NAMES),
    ("/dev/nvidia*", GPU_NAMES),
)
BY_PATH = "/dev/dri/by-path"
DRM_SUFFIXES = {"card": "card", "renderD": "render"}


def control(driver: Driver) -> Found:
    """Give the nodes every container with a GPU needs."""
    return together(_node(driver, path, use) for path, use in libraries.table().nodes.items())


def gpu(driver: Driver, one: Gpu) -> Found:
    """Give the nodes and links of a whole GPU."""
    return together([_own(driver, one), _drm(driver, one)])


def mig(driver: Driver, one: Gpu, part: Mig, minors: Mapping[str, int]) -> Found:
    """Give the nodes of a MIG device: its parent's and those of its two capabilities."""
    instance = f"gpu{one.minor}/gi{part.gi}"
    names = (f"{instance}/access", f"{instance}/ci{part.ci}/access")
    found = [_own(driver, one), *(_capability(driver, name, minors) for name in names)]
    if "gfx" in part.profile:
        found.append(_drm(driver, one))
    return together(found)


def _own(driver: Driver, one: Gpu) -> Found:
    path = f"/dev/nvidia{one.minor}"
    use = gpu_use(path)
    hint = use.hint.replace("MINOR", str(one.minor))
    return _node(driver, path, replace(use, hint=hint))


def _capability(driver: Driver, name: str, minors: Mapping[str, int]) -> Found:
    if name not in minors:
        use = gpu_use("/dev/nvidia-caps/nvidia-cap0")
        return absent(name, use, f"not listed in {driver.system.outer(drivers.MIG_MINORS)}")
    path = f"/dev/nvidia-caps/nvidia-cap{minors[name]}"
    return _node(driver, path, gpu_use(path))


def _drm(driver: Driver, one: Gpu) -> Found:
    return together(_drm_parts(driver, one))


def _drm_parts(driver: Driver, one: Gpu) -> Iterator[Found]:
    for name in files.listed(driver.system, f"/sys/bus/pci/devices/{one.pci}/drm"):
        kind = name.rstrip("0123456789")
        if kind not in DRM_SUFFIXES or kind == name:
            continue
        path = f"/dev/dri/{name}"
        use = gpu_use(path)
        found = _node(driver, path, use)
        yield found
        link = f"{BY_PATH}/pci-{one.pci}-{DRM_SUFFIXES[kind]}"
        if found.nodes and driver.dev_root.exists(link):
            yield Found(
                links=(
                    Link(
                        link=link,
                        target=f"../{name}",
                        capabilities=use.capabilities,
                        why=f"{name} by its PCI address",
                    ),
                )
            )


def gpu_use(path: str) -> Use:
    """Give what a node of a GPU is for."""
    rows = libraries.table().gpu_nodes.items()
    return next((use for row, use in rows if fnmatch.fnmatchcase(path, row)), libraries.UNKNOWN)


def _node(driver: Driver, path: str, use: Use) -> Found:
    found = node(driver.dev_root, path, use)
    strangers = [why for one in found.nodes if (why := _stranger(driver, one))]
    return absent(path, use, strangers[0]) if strangers else found


def _stranger(driver: Driver, one: Node) -> str:
    """Say why a node is not the driver's, by the numbers the kernel knows; empty where it may be.

    After the modules were loaded anew an old node can be that of another driver.
    """
    owners = next((names for row, names in OWNERS if fnmatch.fnmatchcase(one.path, row)), ())
    majors = drivers.majors(driver.system) if one.major else {}  # 0 is a node without a number
    wanted = next((majors[name] for name in owners if name in majors), one.major)
    if one.major != wanted:
        return f"its major number is {one.major}, the driver has {wanted}"
    _, minor = _number(one.path)
    if wanted and owners in (GPU_NAMES, CAPS_NAMES) and minor not in (-1, one.minor):
        return f"its minor number is {one.minor}, not {minor}"
    return ""


def node(dev_root: Root, path: str, use: Use) -> Found:
    """Give the character device a path below the root of /dev leads to."""
    try:
        status = dev_root.stat(path)
        host = dev_root.outer(dev_root.resolve(path))
    except OSError as error:
        return absent(path, use, f"{error.strerror or error}".lower())
    if not stat.S_ISCHR(status.st_mode):
        return absent(path, use, "not a character device")
    one = Node(
        path=path,
        host=host,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        gid=status.st_gid,
        use=use,
    )
    return Found(nodes=(one,))


def matching(dev_root: Root, pattern: str, use: Use) -> Found:
    """Give the character devices whose paths match; the folder's name is none of the pattern."""
    folder, _, base = pattern.rpartition("/")
    names = fnmatch.filter(files.listed(dev_root, folder), base)
    found = (node(dev_root, f"{folder}/{name}", use) for name in sorted(names, key=_number))
    return Found(nodes=tuple(one for part in found for one in part.nodes))


def _number(name: str) -> tuple[str, int]:
    """Give a name's text and the number at its end, so that 10 comes after 9."""
    text = name.rstrip("0123456789")
    return text, int(name.removeprefix(text) or -1)
