# SPDX-License-Identifier: Apache-2.0
"""Device nodes are described as they are; what is none is named with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import driver_roots
import pytest
from discovery import links, look, required
from driver_roots import Char, needs_nodes
from gpubind_cdi.discover import nodes
from gpubind_cdi.discover.found import together

if TYPE_CHECKING:
    from pathlib import Path

    from driver_roots import Tree


@needs_nodes
def test_control_nodes_have_their_numbers_and_host_paths(tmp_path: Path) -> None:
    found = look(tmp_path, driver_roots.control(), nodes.control)
    assert [(one.path, one.host, one.major, one.minor, one.mode) for one in found.nodes] == [
        ("/dev/nvidiactl", f"{tmp_path}/dev/nvidiactl", 195, 255, 0o666),
        ("/dev/nvidia-uvm", f"{tmp_path}/dev/nvidia-uvm", 510, 0, 0o666),
        ("/dev/nvidia-uvm-tools", f"{tmp_path}/dev/nvidia-uvm-tools", 510, 1, 0o666),
        ("/dev/nvidia-modeset", f"{tmp_path}/dev/nvidia-modeset", 195, 254, 0o666),
    ]
    assert found.missing == ()


def test_a_node_that_is_none_is_missing_with_what_to_do(tmp_path: Path) -> None:
    tree: Tree = {"/dev/nvidiactl": "a file", "/dev/nvidia-uvm": "-> nowhere"}
    found = look(tmp_path, tree, nodes.control)
    assert required(found) == [
        "/dev/nvidiactl (control node of the driver): not a character device; "
        "load the kernel module nvidia and run nvidia-modprobe",
        "/dev/nvidia-uvm (unified memory): no such file or directory; run nvidia-modprobe -u -c 0",
    ]


@needs_nodes
def test_a_node_behind_a_link_is_described_where_it_is(tmp_path: Path) -> None:
    tree: Tree = {"/dev/nvidia0": "-> /dev/real", "/dev/real": Char(195, 0)}
    (node,) = look(tmp_path, tree, lambda one: nodes.gpu(one, driver_roots.gpu(0))).nodes
    assert (node.path, node.host) == ("/dev/nvidia0", f"{tmp_path}/dev/real")


@needs_nodes
def test_drm_nodes_come_from_the_gpus_own_bus_address(tmp_path: Path) -> None:
    drm = "/sys/bus/pci/devices/0000:01:00.0/drm"
    tree: Tree = {
        "/dev/nvidia0": Char(195, 0),
        **{f"{drm}/{name}": None for name in ("card1", "controlD65", "renderD128", "card", "x1")},
        "/dev/dri/card1": Char(226, 1, 0o660),
        "/dev/dri/card2": Char(226, 2, 0o660),
        "/dev/dri/by-path/pci-0000:01:00.0-card": "-> ../card1",
        "/dev/dri/by-path/pci-0000:01:00.0-render": "-> ../renderD128",
    }
    found = look(tmp_path, tree, lambda one: nodes.gpu(one, driver_roots.gpu(0)))
    assert [one.path for one in found.nodes] == ["/dev/nvidia0", "/dev/dri/card1"]
    assert links(found) == {"/dev/dri/by-path/pci-0000:01:00.0-card": "../card1"}
    assert [one.what for one in found.missing] == ["/dev/dri/renderD128 (DRM render node)"]
    assert required(found) == []


@needs_nodes
@pytest.mark.parametrize("profile", ["1g.10gb", "1g.10gb+gfx"])
def test_a_mig_device_is_its_parent_and_two_capabilities(tmp_path: Path, profile: str) -> None:
    tree: Tree = {
        "/dev/nvidia0": Char(195, 0),
        "/dev/nvidia-caps/nvidia-cap12": Char(508, 12, 0o444),
        "/dev/nvidia-caps/nvidia-cap13": Char(508, 13, 0o444),
        "/sys/bus/pci/devices/0000:01:00.0/drm/card1": None,
        "/dev/dri/card1": Char(226, 1, 0o660),
    }
    minors = {"gpu0/gi3/access": 12, "gpu0/gi3/ci0/access": 13, "gpu0/gi4/access": 21}
    part = driver_roots.mig(0, 3, profile)
    found = look(tmp_path, tree, lambda one: nodes.mig(one, driver_roots.gpu(0), part, minors))
    graphics = ["/dev/dri/card1"] if "gfx" in profile else []
    assert [one.path for one in found.nodes] == [
        "/dev/nvidia0",
        "/dev/nvidia-caps/nvidia-cap12",
        "/dev/nvidia-caps/nvidia-cap13",
        *graphics,
    ]
    other = driver_roots.mig(1, 4)
    lacking = look(tmp_path, {}, lambda one: nodes.mig(one, driver_roots.gpu(0), other, minors))
    assert [one.partition(":")[0] for one in required(lacking)] == [
        "/dev/nvidia-caps/nvidia-cap21 (MIG capability)",
        "gpu0/gi4/ci0/access (MIG capability)",
    ]


KERNEL_NAMES = (
    "Character devices:\n  1 mem\n195 {}\n511 nvidia-caps\n510 nvidia-uvm\n\n"
    "Block devices:\n  1 nvidia\n"
)


@needs_nodes
@pytest.mark.parametrize("name", ["nvidia", "nvidia-frontend"])
@pytest.mark.parametrize(
    ("path", "node", "reason"),
    [
        ("/dev/nvidiactl", Char(1, 3), "its major number is 1, the driver has 195"),
        ("/dev/nvidia-uvm", Char(509, 0), "its major number is 509, the driver has 510"),
        ("/dev/nvidia0", Char(1, 0), "its major number is 1, the driver has 195"),
        ("/dev/nvidia0", Char(195, 1), "its minor number is 1, not 0"),
    ],
)
def test_a_node_of_another_driver_is_missing(
    tmp_path: Path, name: str, path: str, node: Char, reason: str
) -> None:
    tree: Tree = {
        **driver_roots.control(),
        "/dev/nvidia0": Char(195, 0),
        path: node,
        "/proc/devices": KERNEL_NAMES.format(name),
    }
    found = look(
        tmp_path,
        tree,
        lambda one: together([nodes.control(one), nodes.gpu(one, driver_roots.gpu(0))]),
    )
    assert path not in [one.path for one in found.nodes]
    (line,) = required(found)
    assert line.startswith(f"{path} (")
    assert reason in line
    assert "nvidia-modprobe" in line


@needs_nodes
def test_nodes_with_the_drivers_numbers_or_none_are_the_drivers(tmp_path: Path) -> None:
    tree: Tree = {
        **driver_roots.control(),
        "/dev/nvidiactl": Char(0, 0),
        "/proc/devices": KERNEL_NAMES.format("nvidia"),
    }
    assert required(look(tmp_path, tree, nodes.control)) == []
