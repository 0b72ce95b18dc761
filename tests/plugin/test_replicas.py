# SPDX-License-Identifier: Apache-2.0
"""Devices that are offered several times, by their entries in the configuration."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from gpu_facts import GPU, gpu, known, offered, sliced, split
from hypothesis import strategies

from gpubind_plugin import resources
from gpubind_plugin.config import Config, Shared


def test_replicas_take_the_place_of_their_device() -> None:
    node = known(gpu(0), gpu(1))
    (first, *_) = resources.offer(
        Config(sharing=sliced(Shared(name=GPU, replicas=3))), node
    ).resources[GPU]
    assert (first.index, first.paths, first.replicas) == ("0", ("/dev/nvidia1",), 3)
    assert offered(node, sharing=sliced(Shared(name=GPU, replicas=2))) == {
        GPU: ["GPU-0::0", "GPU-0::1", "GPU-1::0", "GPU-1::1"]
    }


def test_eleven_replicas_stand_in_the_order_of_their_numbers() -> None:
    found = offered(known(gpu(0)), sharing=sliced(Shared(name=GPU, replicas=11)))
    assert found[GPU] == [f"GPU-0::{number}" for number in range(11)]


def test_each_gpu_can_have_its_own_number_of_replicas_and_one_none() -> None:
    entries = (
        Shared(name=GPU, replicas=2, rename="nvidia.com/gpu.shared", count=1),
        Shared(name=GPU, replicas=3, rename="nvidia.com/gpu.shared", devices=("0", "GPU-2")),
    )
    assert offered(known(*map(gpu, range(4))), sharing=sliced(*entries)) == {
        GPU: ["GPU-3"],
        "nvidia.com/gpu.shared": [
            *("GPU-0::0", "GPU-0::1", "GPU-0::2", "GPU-1::0", "GPU-1::1"),
            *("GPU-2::0", "GPU-2::1", "GPU-2::2"),
        ],
    }


@pytest.mark.parametrize("name", ["0:1", "MIG-0-1", "mig-0-1", "MIG-GPU-0/2/0"])
def test_a_mig_device_is_shared_by_any_of_its_names(name: str) -> None:
    entry = Shared(name=GPU, replicas=2, devices=(name,))
    node = known(split(0, "1g.10gb", "1g.10gb"))
    found = offered(node, mig_strategy="single", sharing=sliced(entry))
    assert found == {GPU: ["MIG-0-0", "MIG-0-1::0", "MIG-0-1::1"]}


def test_what_is_to_be_shared_and_not_there_is_told_and_costs_nothing_else() -> None:
    entries = (
        Shared(name=GPU, replicas=2, devices=("7", "0")),
        Shared(name=GPU, replicas=2, count=4),
        Shared(name="nvidia.com/none", replicas=2),
    )
    found = resources.offer(Config(sharing=sliced(*entries)), known(gpu(0), gpu(1)))
    assert [device.id for device in found.resources[GPU]] == [
        *("GPU-0::0", "GPU-0::1", "GPU-1::0", "GPU-1::1")
    ]
    assert found.warnings == (
        "sharing: the node has no nvidia.com/none",
        "sharing: no device 7 of nvidia.com/gpu is there",
        "sharing: 4 devices of nvidia.com/gpu are wanted, 1 left",
    )


@hypothesis.given(
    strategies.lists(strategies.integers(0, 7), unique=True),
    strategies.lists(strategies.integers(2, 5), max_size=3),
    strategies.randoms(use_true_random=False),
)
def test_no_device_is_offered_twice_or_lost(
    there: list[int], counts: list[int], order: Any
) -> None:
    entries = [Shared(name=GPU, replicas=count, count=at + 1) for at, count in enumerate(counts)]
    gpus = [gpu(index) for index in there]
    order.shuffle(gpus)
    config = Config(sharing=sliced(*entries))
    found = resources.offer(config, known(*gpus)).resources.get(GPU, ())
    assert len({device.id for device in found}) == len(found)
    assert {device.uuid for device in found} == {one.uuid for one in gpus}
    assert all(sum(one.uuid == two.uuid for two in found) == (one.replicas or 1) for one in found)
    assert found == tuple(sorted(found, key=resources.order))
