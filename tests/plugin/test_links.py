# SPDX-License-Identifier: Apache-2.0
"""How close two GPUs are is a score in the field's measure, known or guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import simulated_nodes
from gpubind_cdi import simulated
from gpubind_cdi.gpu import PATHS, Link

from gpubind.root import Root
from gpubind_plugin import links, looking
from gpubind_plugin.config import Config
from gpubind_plugin.device import Device

if TYPE_CHECKING:
    from pathlib import Path


def device(uuid: str, numa: int = -1, pci: str = "0000:01:00.0") -> Device:
    return Device(id=uuid, index="0", uuid=uuid, numa=numa, pci=pci)


@pytest.mark.parametrize(
    ("path", "nvlinks", "want"),
    [
        ("SYS", 0, 10),
        ("NODE", 0, 20),
        ("PHB", 0, 30),
        ("PXB", 0, 40),
        ("PIX", 0, 50),
        ("PSB", 0, 60),
        ("SYS", 1, 110),
        ("NODE", 18, 1820),
    ],
)
def test_a_pair_has_the_fields_score(path: str, nvlinks: int, want: int) -> None:
    known = [Link(gpus=("a", "b"), path=path, nvlinks=nvlinks)]
    score = links.score([device("a"), device("b")], known)
    assert (score("a", "b"), score("b", "a")) == (want, want)


def test_every_path_that_is_told_has_a_score() -> None:
    assert set(links.PATHS) == set(PATHS.values())


@pytest.mark.parametrize(
    ("one", "other", "want"),
    [
        (device("a", numa=1), device("b", numa=1), 20),
        (device("a", numa=0), device("b", numa=1), 10),
        (device("a", pci="0008:01:00.0"), device("b", pci="0008:02:00.0"), 20),
        (device("a", pci="0008:01:00.0"), device("b", pci="0018:01:00.0"), 10),
        (device("a", numa=0, pci="0008:01:00.0"), device("b", pci="0008:02:00.0"), 20),
    ],
)
def test_a_pair_of_which_nothing_is_known_is_guessed(one: Device, other: Device, want: int) -> None:
    assert links.score([one, other], [])("a", "b") == want


def test_a_link_to_a_gpu_that_is_gone_does_no_harm() -> None:
    score = links.score([device("a"), device("b")], [Link(gpus=("a", "gone"), path="PIX")])
    assert score("a", "b") == 20


@pytest.mark.parametrize(
    ("profile", "first_row"),
    [
        ("dgx-h100", ["NODE", "NODE", "NODE", "SYS", "SYS", "SYS", "SYS"]),
        ("dgx-a100-mig", ["PXB", "SYS", "SYS", "SYS", "SYS", "SYS", "SYS"]),
        ("gb200-nvl4", ["NODE", "SYS", "SYS"]),
        ("t4", []),
    ],
)
def test_a_simulated_node_tells_how_its_gpus_reach_each_other(
    tmp_path: Path, profile: str, first_row: list[str]
) -> None:
    with Root(str(simulated_nodes.node(profile, tmp_path))) as root:
        source = simulated.Simulated(root)
        first = source.gpus()[0].uuid
        assert [one.path for one in source.links() if first in one.gpus] == first_row


def test_a_look_at_a_node_tells_how_its_gpus_reach_each_other(tmp_path: Path) -> None:
    node = simulated_nodes.node("dgx-h100", tmp_path)
    found = looking.look(Config(container_driver_root=str(node))).inventory
    assert len(found.links) == 28
