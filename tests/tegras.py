# SPDX-License-Identifier: Apache-2.0
"""Small Tegras for tests: their lists, libraries and nodes, and who knows their GPUs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import driver_roots
from driver_roots import Char, Known, lib
from gpubind_cdi import mountspec

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.gpu import Fault, Gpu

LISTS = mountspec.FOLDER
LIBRARIES = "/usr/lib/aarch64-linux-gnu"
ORIN = replace(driver_roots.gpu(0), name="Orin (nvgpu)", pci="", architecture="8.7")
BESIDE = replace(driver_roots.gpu(1), pci="0005:01:00.0")


class Silent:
    """A source of GPUs on a machine without NVML."""

    def driver_version(self) -> str:
        raise ToolkitError("no NVML here", identifier="DRV-NOT-FOUND")

    def cuda_version(self) -> str:
        raise ToolkitError("no NVML here", identifier="DRV-NOT-FOUND")

    def gpus(self) -> Sequence[Gpu]:
        raise ToolkitError("no NVML here", identifier="DRV-NOT-FOUND")

    def faults(self) -> Sequence[Fault]:
        raise ToolkitError("no NVML here", identifier="DRV-NOT-FOUND")


class Untold(Silent):
    """A source of GPUs that nobody may ask."""

    def gpus(self) -> Sequence[Gpu]:
        raise AssertionError("NVML was asked")


NO_NVML = Silent()
ONE = Known([ORIN], version="540.4.0")
MIXED = Known([ORIN, BESIDE], version="540.4.0")


def tree(*lines: str, name: str = "l4t.csv", **more: Any) -> dict[str, Any]:
    """Give a Tegra with two nodes in a list, and a list `name` of these lines."""
    return {
        "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.0\n",
        "/dev/nvmap": Char(10, 77),
        "/dev/nvidia0": Char(195, 0),
        "/dev/nvidia2": Char(195, 2),
        f"{LISTS}/devices.csv": "dev, /dev/nvmap\ndev, /dev/nvidia0\n",
        f"{LISTS}/{name}": "".join(f"{line}\n" for line in lines),
        **more,
    }


def cuda() -> dict[str, Any]:
    """Give libcuda as L4T installs it: in a folder of its own, with links to it."""
    return {
        f"{LIBRARIES}/nvidia/libcuda.so.1.1": lib("libcuda.so.1", "aarch64"),
        f"{LIBRARIES}/nvidia/libcuda.so": "-> libcuda.so.1.1",
        f"{LIBRARIES}/libcuda.so": "-> nvidia/libcuda.so",
    }
