# SPDX-License-Identifier: Apache-2.0
"""Where the driver and /dev are: as given, or where a driver in a container keeps them.

A driver that is not installed on the host lies in a folder of its own: the GPU operator's driver
container shows its root at /run/nvidia/driver, Google's Container-Optimized OS has it in
/home/kubernetes/bin/nvidia. These are looked at, below the driver root, where that has no driver.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind_cdi import driver as drivers
from gpubind_cdi.lookup import library

from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACES = ("/run/nvidia/driver", "/home/kubernetes/bin/nvidia")
CONTROL = "/dev/nvidiactl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The driver root and the folder above /dev; `notes` say which were not given but found."""

    driver: str
    dev: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The driver root, the folder above /dev, and that above /proc and /sys, all open."""

    driver: Root
    nodes: Root
    system: Root
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def opened(driver_root: str, dev_root: str | None = None) -> Iterator[Opened]:
    """Open the roots that `of` gives; /proc and /sys are a simulated node's own, else the host's.

    Raises OSError where there is no such folder.
    """
    places = of(driver_root, dev_root)
    with Root(places.driver) as root, Root(places.dev) as nodes, Root("/") as host:
        system = next((one for one in (root, nodes) if drivers.holds_system(one)), host)
        yield Opened(driver=root, nodes=nodes, system=system, notes=places.notes)


def of(driver_root: str, dev_root: str | None = None) -> Roots:
    """Give the roots for what the operator said; by default /dev is below the driver root.

    The driver's own folder has /dev where its control node is, else /dev is the driver root's.
    All are absolute, as a spec needs them. Raises OSError where there is no such folder.
    """
    driver_root, dev_root = _absolute(driver_root), dev_root and _absolute(dev_root)
    with Root(driver_root) as root:
        places = [place for place in PLACES if root.exists(place)]
        if places and not _has_driver(root):
            for place in places:
                with Root(root.outer(root.resolve(place))) as inner:
                    if _has_driver(inner):
                        return _found(driver_root, inner, dev_root)
    return Roots(driver=driver_root, dev=dev_root or driver_root)


def _absolute(place: str) -> str:
    return os.path.abspath(place) if place else place  # no name at all is no folder


def _found(outer: str, inner: Root, dev_root: str | None) -> Roots:
    dev = dev_root or (inner.path if inner.exists(CONTROL) else outer)
    note = f"{outer} has no driver, {inner.path} has: that is the driver root, {dev} the dev root"
    return Roots(driver=inner.path, dev=dev, notes=(note,))


def _has_driver(root: Root) -> bool:
    return bool(drivers.versions(library.folders(root)))
