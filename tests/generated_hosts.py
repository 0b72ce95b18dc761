# SPDX-License-Identifier: Apache-2.0
"""Two small hosts and the specs generated from them, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import driver_roots
from driver_roots import LIBRARIES, VERSION, Char, Known, lib
from gpubind_cdi.generate import Generated, generate
from gpubind_cdi.modes.mode import Options

from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

    from driver_roots import Tree
    from gpubind_cdi.gpu import GpuSource

TWO = Known([driver_roots.gpu(0), driver_roots.gpu(1)])
PARTS = Known(
    [
        driver_roots.gpu(0, driver_roots.mig(0, 1), driver_roots.mig(1, 2)),
        driver_roots.gpu(1, mig_enabled=True),
        driver_roots.gpu(2),
    ]
)
PLAIN = Options(machine="x86_64", hook_path="/usr/bin/gpubind-cdi-hook")


def two() -> dict[str, Any]:
    """Give the tree of a small host with two GPUs, one of them with a display."""
    return {
        **driver_roots.driver(),
        **driver_roots.control(),
        "/dev/nvidia0": Char(195, 0),
        "/dev/nvidia1": Char(195, 1),
        "/sys/bus/pci/devices/0000:01:00.0/drm/card0": None,
        "/sys/bus/pci/devices/0000:01:00.0/drm/renderD128": None,
        "/dev/dri/card0": Char(226, 0, 0o660),
        "/dev/dri/renderD128": Char(226, 128, 0o660),
        "/dev/dri/by-path/pci-0000:01:00.0-card": "-> ../card0",
        "/dev/dri/by-path/pci-0000:01:00.0-render": "-> ../renderD128",
        f"{LIBRARIES}/libEGL_nvidia.so.{VERSION}": lib("libEGL_nvidia.so.0"),
        f"/usr/lib/i386-linux-gnu/libcuda.so.{VERSION}": lib("libcuda.so.1", "i386"),
        f"{LIBRARIES}/vdpau/libvdpau_nvidia.so.{VERSION}": lib("libvdpau_nvidia.so.1"),
        "/usr/bin/nvidia-smi": "x",
        f"/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin": "x",
        "/usr/share/glvnd/egl_vendor.d/10_nvidia.json": "{}",
        "/run/nvidia-persistenced/socket": driver_roots.SOCKET,
    }


def parts() -> dict[str, Any]:
    """Give the tree of a host with one partitioned GPU, one ready for it and a whole one."""
    caps = {f"/dev/nvidia-caps/nvidia-cap{n}": Char(508, n, 0o444) for n in (12, 13, 21, 22)}
    return {
        **driver_roots.driver(),
        **driver_roots.control(),
        **{f"/dev/nvidia{index}": Char(195, index) for index in range(3)},
        **caps,
        "/proc/driver/nvidia-caps/mig-minors": (
            "config 1\ngpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\n"
            "gpu0/gi2/access 21\ngpu0/gi2/ci0/access 22\n"
        ),
    }


def made(folder: Path, tree: Tree, gpus: GpuSource = TWO, options: Options = PLAIN) -> Generated:
    """Grow the tree and generate the spec of it."""
    with Root(driver_roots.grow(folder, tree)) as root:
        return generate(options, gpus, root, root)


def again(folder: Path, gpus: GpuSource = TWO, options: Options = PLAIN) -> Generated:
    """Generate once more from a folder that is grown already."""
    with Root(str(folder)) as root:
        return generate(options, gpus, root, root)


def names(generated: Generated) -> list[str]:
    """Give the names of the devices."""
    return [device.name for device in generated.spec.devices]


def node_paths(generated: Generated, name: str) -> list[str]:
    """Give the paths of a device's nodes."""
    device = next(device for device in generated.spec.devices if device.name == name)
    return [node.path for node in device.container_edits.device_nodes]
