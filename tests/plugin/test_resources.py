# SPDX-License-Identifier: Apache-2.0
"""What a node offers: names, devices, replicas, and what is left out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from gpu_facts import GIB, GPU, gpu, known, offered, sliced, split
from gpubind_cdi.gpu import Fault

from gpubind.errors import ToolkitError
from gpubind_plugin import facts, resources
from gpubind_plugin.config import Config, Named, Resources, Selector, Shared

if TYPE_CHECKING:
    from gpubind_cdi.gpu import Gpu


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
