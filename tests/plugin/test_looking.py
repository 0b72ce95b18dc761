# SPDX-License-Identifier: Apache-2.0
"""Looks at simulated nodes: where the driver is, what is there, what is offered then."""

from __future__ import annotations

import dataclasses
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import simulated_nodes

from gpubind.errors import ToolkitError
from gpubind_plugin import facts, looking, resources
from gpubind_plugin.config import Config, Imex

if TYPE_CHECKING:
    from pathlib import Path

GPU = "nvidia.com/gpu"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with nodes that no test changes."""
    folder = tmp_path_factory.mktemp("nodes")
    for name in ("t4", "dgx-a100-mig", "wsl2", "orin", "gb200-nvl4"):
        simulated_nodes.node(name, folder)
    return folder


def looked(node: Path, **config: Any) -> facts.Facts:
    return looking.look(Config(container_driver_root=str(node), **config))


def counts(node: Path, **config: Any) -> dict[str, int]:
    """Give how many devices of each resource a node offers."""
    said = Config(container_driver_root=str(node), **config)
    found = resources.offer(said, looking.look(said))
    return {name: len(devices) for name, devices in found.resources.items()}


def test_a_look_tells_of_gpus_numa_nodes_and_control_nodes(nodes: Path) -> None:
    found = looked(nodes / "dgx-a100-mig")
    assert (found.platform, len(found.inventory.gpus)) == (facts.NVML, 8)
    assert found.numa["0000:07:00.0"] == 3
    assert found.inventory.gpus[0].memory == 80 << 30
    assert set(found.control) >= {"/dev/nvidiactl", "/dev/nvidia-uvm"}


def test_each_strategy_offers_what_the_node_has(nodes: Path) -> None:
    node = nodes / "dgx-a100-mig"
    assert counts(node) == {GPU: 8}
    assert counts(node, mig_strategy="mixed") == {
        GPU: 5,
        "nvidia.com/mig-1g.10gb": 7,
        "nvidia.com/mig-3g.40gb": 1,
    }
    with pytest.raises(ToolkitError, match="device 2 has no MIG devices configured"):
        counts(node, mig_strategy="single")


def test_a_mig_device_s_paths_are_nodes_that_are_there(nodes: Path) -> None:
    said = Config(container_driver_root=str(nodes / "dgx-a100-mig"), mig_strategy="mixed")
    offered = resources.offer(said, looking.look(said)).resources["nvidia.com/mig-1g.10gb"]
    paths = [path for device in offered for path in device.paths]
    assert len(paths) == 21
    assert all(os.path.lexists(f"{nodes}/dgx-a100-mig{path}") for path in paths)


@pytest.mark.parametrize(
    ("name", "platform", "device"),
    [("wsl2", facts.WSL, "all"), ("orin", facts.TEGRA, "tegra")],
)
def test_other_platforms_are_seen(nodes: Path, name: str, platform: str, device: str) -> None:
    found = looked(nodes / name)
    assert found.platform == platform
    assert [one.id for one in resources.offer(Config(), found).resources[GPU]] == [device]


def test_a_platform_can_be_told(nodes: Path) -> None:
    assert looked(nodes / "t4", device_discovery_strategy="tegra").platform == facts.TEGRA


def test_a_channel_that_is_there_is_given_and_one_that_must_be_is_missed(nodes: Path) -> None:
    wanted = Imex(channel_ids=(0,), required=True)
    assert looked(nodes / "gb200-nvl4", imex=wanted).channels == (0,)
    assert looked(nodes / "t4", imex=dataclasses.replace(wanted, required=False)).channels == ()
    with pytest.raises(ToolkitError) as caught:
        looked(nodes / "t4", imex=wanted)
    assert caught.value.identifier == "K8S-IMEX"


def test_the_host_s_names_go_with_ours(nodes: Path) -> None:
    found = looked(nodes / "t4", driver_root="/run/nvidia/driver").roots
    node = f"{nodes}/t4"
    host = "/run/nvidia/driver"
    assert found == facts.Roots(driver=node, dev=node, host_driver=host, host_dev=host)
    assert looked(nodes / "t4", dev_root="/").roots.host_dev == "/"


def test_the_operator_s_driver_is_found_below_the_host_s_root(nodes: Path, tmp_path: Path) -> None:
    place = tmp_path / "run/nvidia/driver"
    shutil.copytree(
        nodes / "t4",
        place,
        symlinks=True,
        ignore=shutil.ignore_patterns("dev", "nvidia-persistenced"),
    )
    found = looked(tmp_path).roots
    assert (found.driver, found.host_driver) == (str(place), "/run/nvidia/driver")
    assert (found.dev, found.host_dev) == ("/", "/")


def test_out_of_a_container_the_host_s_name_of_the_driver_does(nodes: Path) -> None:
    node = f"{nodes}/t4"
    found = looking.roots(Config(driver_root=node, container_driver_root="/none"))
    assert (found.driver, found.host_driver) == (node, node)


@pytest.mark.parametrize("name", ["wsl2", "orin", "t4"])
def test_the_place_with_a_driver_of_any_kind_is_taken(
    nodes: Path, tmp_path: Path, name: str
) -> None:
    node = f"{nodes}/{name}"
    found = looking.roots(Config(driver_root=node, container_driver_root=str(tmp_path)))
    assert found.driver == node


def test_without_a_driver_the_look_says_so(tmp_path: Path) -> None:
    with pytest.raises(ToolkitError) as caught:
        looked(tmp_path)
    assert caught.value.identifier == "DRV-NOT-FOUND"
