# SPDX-License-Identifier: Apache-2.0
"""What a node offers: names, devices, replicas, and what is left out."""

from __future__ import annotations

import dataclasses
from typing import Any

import hypothesis
import pytest
from gpubind_cdi.gpu import Fault, Gpu, Mig
from gpubind_cdi.inventory import Inventory
from hypothesis import strategies

from gpubind.errors import ToolkitError
from gpubind_plugin import facts, resources
from gpubind_plugin.config import Config, Named, Resources, Selector, Shared, Shares, Sharing

GPU = "nvidia.com/gpu"
GIB = 1 << 30


def gpu(index: int, **changes: Any) -> Gpu:
    plain = Gpu(
        index=index,
        uuid=f"GPU-{index}",
        minor=index + 1,
        pci=f"0000:{index:02x}:00.0",
        name="NVIDIA A100-SXM4-80GB",
        brand="Nvidia",
        architecture="8.0",
        memory=80 * GIB,
    )
    return dataclasses.replace(plain, **changes)


def split(index: int, *profiles: str, **changes: Any) -> Gpu:
    """Give a GPU with MIG devices of these profiles, each in a GPU instance of its own."""
    parts = (
        Mig(index=at, uuid=f"MIG-{index}-{at}", gi=at + 1, ci=0, profile=profile, memory=10 * GIB)
        for at, profile in enumerate(profiles)
    )
    return gpu(index, mig_enabled=True, mig=tuple(parts), **changes)


def known(*gpus: Gpu, faults: tuple[Fault, ...] = (), **changes: Any) -> facts.Facts:
    """Give the facts of a node with these GPUs, whose MIG devices have all their capabilities."""
    instances = [f"gpu{one.minor}/gi{mig.gi}" for one in gpus for mig in one.mig]
    names = [name for one in instances for name in (f"{one}/access", f"{one}/ci0/access")]
    return facts.Facts(
        inventory=Inventory(driver="550.54.15", cuda="12.4", gpus=gpus, faults=faults),
        minors={name: number for number, name in enumerate(names, 12)},
        numa={"0000:00:00.0": 3},
        **changes,
    )


def offered(node: facts.Facts, **config: Any) -> dict[str, list[str]]:
    """Give the ids a node offers, by resource."""
    found = resources.offer(Config(**config), node).resources
    return {name: [device.id for device in devices] for name, devices in found.items()}


def sliced(*entries: Shared, **more: Any) -> Sharing:
    return Sharing(time_slicing=Shares(resources=entries, **more))


def test_a_gpu_is_told_with_its_node_place_and_memory() -> None:
    (device,) = resources.offer(Config(), known(gpu(0))).resources[GPU]
    assert (device.id, device.index, device.paths) == ("GPU-0", "0", ("/dev/nvidia1",))
    assert (device.numa, device.memory_bytes, device.compute) == (3, 80 * GIB, "8.0")
    assert not device.is_mig


def test_without_a_strategy_a_partitioned_gpu_is_a_gpu() -> None:
    assert offered(known(gpu(0), split(1, "1g.10gb"))) == {GPU: ["GPU-0", "GPU-1"]}


def test_in_strategy_single_mig_devices_are_the_gpus() -> None:
    node = known(split(0, "1g.10gb", "1g.10gb"), split(1, "1g.10gb"))
    assert offered(node, mig_strategy="single") == {GPU: ["MIG-0-0", "MIG-0-1", "MIG-1-0"]}


def test_in_strategy_mixed_each_profile_has_a_name() -> None:
    node = known(
        split(0, "1g.10gb+me", "3g.40gb"), gpu(1), split(2, "1g.24gb+me.all", "1g.24gb-me")
    )
    assert offered(node, mig_strategy="mixed") == {
        GPU: ["GPU-1"],
        "nvidia.com/mig-1g.10gb.me": ["MIG-0-0"],
        "nvidia.com/mig-1g.24gb-me": ["MIG-2-1"],
        "nvidia.com/mig-1g.24gb.me.all": ["MIG-2-0"],
        "nvidia.com/mig-3g.40gb": ["MIG-0-1"],
    }


def test_a_mig_device_has_its_gpu_s_node_and_its_own_capabilities() -> None:
    node = known(split(0, "1g.10gb"))
    (device,) = resources.offer(Config(mig_strategy="single"), node).resources[GPU]
    caps = ("/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap13")
    assert device.paths == ("/dev/nvidia1", *caps)
    assert (device.index, device.gi, device.ci, device.numa) == ("0:0", 1, 0, 3)
    assert (device.gpu_uuid, device.memory_bytes, device.is_mig) == ("GPU-0", 10 * GIB, True)


def test_a_mig_device_without_capability_is_left_out_and_the_other_is_not() -> None:
    node = known(split(0, "1g.10gb", "1g.10gb"))
    minors = {name: number for name, number in node.minors.items() if name != "gpu1/gi1/access"}
    found = resources.offer(Config(mig_strategy="single"), dataclasses.replace(node, minors=minors))
    assert [device.id for device in found.resources[GPU]] == ["MIG-0-1"]
    assert found.warnings == (
        "MIG device 0:0 (1g.10gb) is left out: missing MIG GPU instance capability path: "
        "/proc/driver/nvidia/capabilities/gpu1/mig/gi1/access",
    )


def test_slices_with_less_compute_have_no_name_of_themselves_but_can_be_given_one() -> None:
    node = known(split(0, "1c.3g.40gb", "3g.40gb"))
    found = resources.offer(Config(mig_strategy="mixed"), node)
    assert list(found.resources) == ["nvidia.com/mig-3g.40gb"]
    assert "1c.3g.40gb" in found.warnings[0]
    table = (Named(name="nvidia.com/third", selector=Selector(pattern="1c.*")),)
    given = offered(node, mig_strategy="mixed", resources=Resources(mig=table))
    assert given == {"nvidia.com/third": ["MIG-0-0"]}


EMPTY = (
    "invalid MIG configuration: at least one device with migEnabled=true was not configured "
    "correctly: device 1 has no MIG devices configured"
)


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        ((split(0, "1g.10gb"), split(1)), EMPTY),
        ((split(0, "1g.10gb", "2g.20gb"),), "more than one MIG device type present on node"),
        (
            (split(0, "1g.10gb"), gpu(1)),
            "all devices on the node must be configured with the same migEnabled value",
        ),
    ],
)
def test_strategy_single_refuses_what_has_no_single_name(
    gpus: tuple[Gpu, ...], message: str
) -> None:
    with pytest.raises(ToolkitError) as caught:
        resources.offer(Config(mig_strategy="single"), known(*gpus))
    assert (caught.value.message, caught.value.identifier) == (message, "K8S-MIG")


def test_strategy_mixed_warns_of_a_gpu_without_mig_devices() -> None:
    found = resources.offer(Config(mig_strategy="mixed"), known(gpu(0), split(1)))
    assert [device.id for device in found.resources[GPU]] == ["GPU-0"]
    assert found.warnings == (EMPTY,)


def test_a_filter_makes_strategy_single_possible() -> None:
    node = known(split(0, "1g.10gb"), gpu(1), split(2))
    out = Resources(exclude=(Selector(uuid="GPU-1"), Selector(pci="0000:02:*")))
    assert offered(node, mig_strategy="single", resources=out) == {GPU: ["MIG-0-0"]}


@pytest.mark.parametrize("lost", range(4))
def test_a_gpu_that_is_lost_leaves_the_others(lost: int) -> None:
    left = [gpu(index) for index in range(4) if index != lost]
    node = known(*left, faults=(Fault(index=lost, message="GPU is lost"),))
    found = resources.offer(Config(), node)
    assert [device.id for device in found.resources[GPU]] == [one.uuid for one in left]
    assert found.warnings == (f"GPU {lost} is left out: it could not be read: GPU is lost",)


def test_a_node_without_gpus_offers_nothing() -> None:
    assert offered(known(), sharing=sliced(Shared(name=GPU, replicas=2))) == {}


def test_a_display_s_gpu_is_not_offered() -> None:
    assert offered(known(gpu(0, name="NVIDIA DGX Display"), gpu(1))) == {GPU: ["GPU-1"]}


@pytest.mark.parametrize(("platform", "name"), [(facts.WSL, "all"), (facts.TEGRA, "tegra")])
def test_a_platform_of_one_device_offers_it(platform: str, name: str) -> None:
    assert offered(known(platform=platform)) == {GPU: [name]}


MIXED = known(
    gpu(0),
    gpu(1, name="Tesla T4", memory=16 * GIB),
    gpu(2, name="NVIDIA T400", memory=2 * GIB),
    gpu(3, name="Tesla T4", memory=0),
)


@pytest.mark.parametrize(
    ("selector", "uuids"),
    [
        (Selector(pattern="*T4"), "13"),
        (Selector(pattern="*T4*"), "123"),
        (Selector(pattern="Tesla"), ""),
        (Selector(pattern="tesla*"), ""),
        (Selector(pattern="Tesla T."), ""),
        (Selector(pci="0000:01:00.0"), "1"),
        (Selector(uuid="gpu-2"), "2"),
        (Selector(memory=((">=", 2 * GIB), ("<", 80 * GIB))), "12"),
        (Selector(memory=(("=", 16 * GIB),)), "1"),
        (Selector(pattern="Tesla T4", pci="*:03:00.0"), "3"),
    ],
)
def test_a_selector_means_what_fits_all_of_it(selector: Selector, uuids: str) -> None:
    wanted = [f"GPU-{number}" for number in uuids]
    table = Resources(gpus=(Named(name="nvidia.com/x", selector=selector),))
    assert offered(MIXED, resources=table).get("nvidia.com/x", []) == wanted
    assert offered(MIXED, resources=Resources(include=(selector,))).get(GPU, []) == wanted
    rest = [f"GPU-{number}" for number in range(4) if f"{number}" not in uuids]
    assert offered(MIXED, resources=Resources(exclude=(selector,))).get(GPU, []) == rest


def test_the_first_pattern_names_a_gpu_and_what_none_fits_is_left_out() -> None:
    table = Resources(
        gpus=(
            Named(name="nvidia.com/a100", selector=Selector(pattern="*A100*")),
            Named(name="nvidia.com/small", selector=Selector(memory=(("<=", 80 * GIB),))),
        )
    )
    found = resources.offer(Config(resources=table), MIXED)
    names = {name: [one.index for one in devices] for name, devices in found.resources.items()}
    assert names == {"nvidia.com/a100": ["0"], "nvidia.com/small": ["1", "2"]}
    assert found.warnings == ("GPU 3 (Tesla T4) is left out: no pattern fits it",)


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
