# SPDX-License-Identifier: Apache-2.0
"""What one look at the node gave, as values: `gpubind_plugin.looking` makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubind_cdi.inventory import Inventory

NVML, WSL, TEGRA = "nvml", "wsl", "tegra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Where the driver and the folder above /dev are: as this process sees them, and the host."""

    driver: str = "/"
    dev: str = "/"
    host_driver: str = "/"
    host_dev: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A node's platform, its GPUs, and what its kernel says of them.

    `numa` has the NUMA node of a PCI address where it is known, `minors` the minor number of a MIG
    capability by its name such as `gpu0/gi1/access`. `control` are the control nodes that exist,
    `channels` the IMEX channels.
    """

    platform: str = NVML
    inventory: Inventory
    numa: Mapping[str, int] = field(default_factory=dict, hash=False)
    minors: Mapping[str, int] = field(default_factory=dict, hash=False)
    control: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    roots: Roots = Roots()
