# SPDX-License-Identifier: Apache-2.0
"""A simulated node's inventory: read strictly, every fault with its place."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import driver_roots
import pytest
from gpubind_cdi import gpu, simulated

from gpubind.errors import DocumentError
from gpubind.root import Root

if TYPE_CHECKING:
    from pathlib import Path

INVENTORY: dict[str, Any] = {
    "format": 1,
    "profile": "two",
    "driver": {"version": "550.54.15", "cuda": "12.4"},
    "gpus": [
        {
            "index": 1,
            "uuid": "GPU-b",
            "minor": 0,
            "pci": "00000001:0A:00.0",
            "name": "NVIDIA A100",
            "brand": "Nvidia",
            "architecture": "8.0",
            "mig": {
                "enabled": True,
                "instances": [
                    {"index": 0, "uuid": "MIG-a", "gi": 1, "ci": 0, "profile": "1g.10gb"}
                ],
            },
        },
        {
            "index": 0,
            "uuid": "GPU-a",
            "minor": 1,
            "pci": "0000:0b:00.0",
            "name": "Tesla T4",
            "brand": "Tesla",
            "architecture": "7.5",
        },
    ],
}


def source(folder: Path, inventory: object) -> simulated.Simulated:
    text = inventory if isinstance(inventory, str) else json.dumps(inventory)
    with Root(driver_roots.grow(folder, {"/gpubind-node.json": text})) as root:
        found = simulated.Simulated(root)
        found.inventory()
        return found


def changed(place: list[Any], value: object) -> dict[str, Any]:
    inventory = copy.deepcopy(INVENTORY)
    holder: Any = inventory
    for step in place[:-1]:
        holder = holder[step]
    if value is KeyError:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return inventory


def test_an_inventory_gives_its_gpus_by_index(tmp_path: Path) -> None:
    found = source(tmp_path, INVENTORY)
    assert (found.driver_version(), found.cuda_version()) == ("550.54.15", "12.4")
    assert found.gpus() == (
        gpu.Gpu(
            index=0,
            uuid="GPU-a",
            minor=1,
            pci="0000:0b:00.0",
            name="Tesla T4",
            brand="Tesla",
            architecture="7.5",
        ),
        gpu.Gpu(
            index=1,
            uuid="GPU-b",
            minor=0,
            pci="0001:0a:00.0",
            name="NVIDIA A100",
            brand="Nvidia",
            architecture="8.0",
            mig=(gpu.Mig(index=0, uuid="MIG-a", gi=1, ci=0, profile="1g.10gb"),),
            mig_enabled=True,
            mig_capable=True,
        ),
    )
    assert found.faults() == ()


def test_a_lost_gpu_may_be_named(tmp_path: Path) -> None:
    lost = INVENTORY | {"faults": [{"index": 2, "message": "GPU is lost"}]}
    assert source(tmp_path, lost).faults() == (gpu.Fault(index=2, message="GPU is lost"),)


def test_a_root_is_simulated_when_it_has_an_inventory(tmp_path: Path) -> None:
    with Root(driver_roots.grow(tmp_path, {"/x/gpubind-node.json": "{}"})) as root:
        assert not simulated.is_simulated(root)
    with Root(driver_roots.grow(tmp_path, {"/gpubind-node.json": "{}"})) as root:
        assert simulated.is_simulated(root)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["format"], 2, "expected 1: written by another version at format"),
        (["format"], KeyError, 'the key "format" is missing'),
        (["gpus"], None, 'the key "gpus" is missing'),
        (["gpu"], [], 'unknown field "gpu"'),
        (["gpus"], {}, "expected a list, found an object at gpus"),
        (["driver"], "550", "expected an object, found"),
        (["driver", "version"], 550, "expected text, found int at driver.version"),
        (["gpus", 0, "index"], True, "found bool at gpus[0].index"),
        (["gpus", 0, "index"], -1, "from 0 to 1048575, found -1 at gpus[0].index"),
        (["gpus", 1, "minor"], 1 << 20, "found 1048576 at gpus[1].minor"),
        (["gpus", 1, "index"], 1, "1 is used twice at gpus[1].index"),
        (["gpus", 1, "uuid"], "GPU-b", "GPU-b is used twice at gpus[1].uuid"),
        (["gpus", 1, "minor"], 0, "0 is used twice at gpus[1].minor"),
        (["gpus", 0, "uuid"], "MIG-b", 'like GPU-1b2c, found "MIG-b" at gpus[0].uuid'),
        (["gpus", 0, "uuid"], "GPU-", 'found "GPU-" at gpus[0].uuid'),
        (["gpus", 0, "uuid"], "GPU-\u00e4", "at gpus[0].uuid"),
        (["gpus", 0, "uuid"], "GPU-a/../b", "at gpus[0].uuid"),
        (["gpus", 0, "pci"], "07:00.0", 'found "07:00.0" at gpus[0].pci'),
        (["gpus", 0, "pci"], "0000:07:00.0/../..", "at gpus[0].pci"),
        (["gpus", 0, "name"], "A100\n", "at gpus[0].name"),
        (["gpus", 0, "mig", "instances", 0, "gi"], "1", "at gpus[0].mig.instances[0].gi"),
        (
            ["gpus", 0, "mig", "instances", 0, "size"],
            {"copy": 1},
            'the key "multiprocessors" is missing at gpus[0].mig.instances[0].size',
        ),
        (["gpus", 0, "mig", "enabled"], KeyError, 'the key "enabled" is missing at gpus[0].mig'),
    ],
)
def test_a_wrong_inventory_is_refused_with_its_place(
    tmp_path: Path, place: list[Any], value: object, message: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        source(tmp_path, changed(place, value))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/gpubind-node.json: ")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1, "format": 1}', "[" * 9999])
def test_what_is_no_inventory_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DocumentError):
        source(tmp_path, text)


def test_an_inventory_that_is_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    root = driver_roots.grow(tmp_path, {"/gpubind-node.json": driver_roots.FIFO})
    with Root(root) as opened, pytest.raises(OSError, match="not a regular file"):
        simulated.Simulated(opened).gpus()


@pytest.mark.parametrize(
    "text",
    ["", "7", "0000:07:00", "0000:07:00.0.0", "000000:07:00.0", "0000:0g:00.0", "::.", "a:b"],
)
def test_what_is_no_pci_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        gpu.pci_address(text)


def test_an_inventory_tells_how_gpus_reach_each_other(tmp_path: Path) -> None:
    links = [{"gpus": ["GPU-a", "GPU-b"], "path": "PXB", "nvlinks": 12}]
    found = source(tmp_path, INVENTORY | {"links": links})
    assert found.links() == (gpu.Link(gpus=("GPU-a", "GPU-b"), path="PXB", nvlinks=12),)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"gpus": ["GPU-a"], "path": "SYS"}, "expected the UUIDs of two GPUs, found 1"),
        ({"gpus": ["GPU-a", "GPU-b"], "path": "NEAR"}, 'found "NEAR"'),
        ({"gpus": ["GPU-a", "GPU-b"]}, 'the key "path" is missing'),
    ],
)
def test_a_link_that_is_none_has_its_place(
    tmp_path: Path, link: dict[str, Any], message: str
) -> None:
    with pytest.raises(DocumentError, match=message) as caught:
        source(tmp_path, INVENTORY | {"links": [link]})
    assert caught.value.path.startswith("links[0]")
