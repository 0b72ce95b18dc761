# SPDX-License-Identifier: Apache-2.0
"""The kubelet's answers: the field's own, word for word."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import hypothesis
import pytest
from gpubind_cdi.inventory import Inventory
from hypothesis import strategies

from gpubind.errors import ToolkitError
from gpubind_plugin import allocate
from gpubind_plugin.config import Config, Shared, Shares, Sharing
from gpubind_plugin.device import Device
from gpubind_plugin.facts import Facts, Roots

GPU = "nvidia.com/gpu"
NAME = "k8s.device-plugin.nvidia.com/gpu="
FACTS = Facts(inventory=Inventory(driver="550.54.15", cuda="12.4", gpus=()))
EVERY = ("gdrcopy", "gds", "mofed")


def device(number: int, **changes: Any) -> Device:
    plain = Device(
        id=f"U{number}", index=f"{number}", uuid=f"U{number}", paths=(f"/dev/nvidia{number}",)
    )
    return dataclasses.replace(plain, **changes)


def shared(number: int, count: int) -> list[Device]:
    numbers = range(count)
    return [device(number, id=f"U{number}::{n}", replicas=count, replica=n) for n in numbers]


def answered(
    *asked: str, facts: Facts = FACTS, offered: list[Device] | None = None, **config: Any
) -> dict[str, Any]:
    """Give what an answer says, without what it does not say."""
    devices = offered or [device(number) for number in range(12)]
    found = allocate.answer(Config(**config), facts, GPU, devices, asked, EVERY, token="t")
    return {name: value for name, value in dataclasses.asdict(found).items() if value}


def test_a_variable_names_the_devices() -> None:
    assert answered("U0", "U1") == {"envs": {"NVIDIA_VISIBLE_DEVICES": "U0,U1"}}


def test_indices_stand_in_order_however_they_are_asked_for() -> None:
    found = answered("U10", "U9", "U0", device_id_strategy="index")
    assert found == {"envs": {"NVIDIA_VISIBLE_DEVICES": "0,9,10"}}


def test_volumes_name_the_devices() -> None:
    folder = "/var/run/nvidia-container-devices"
    assert answered("U0", "U1", device_list_strategy=("volume-mounts",)) == {
        "envs": {"NVIDIA_VISIBLE_DEVICES": folder},
        "mounts": tuple(
            {"container_path": f"{folder}/{name}", "host_path": "/dev/null", "read_only": False}
            for name in ("U0", "U1")
        ),
    }


def test_cdi_names_go_by_annotation_and_by_field_and_nothing_else_does() -> None:
    ways = ("cdi-annotations", "cdi-cri")
    assert answered("U1", "U0", device_list_strategy=ways, pass_device_specs=True) == {
        "annotations": {"cdi.k8s.io/nvidia-device-plugin_t": f"{NAME}U0,{NAME}U1"},
        "cdi_devices": (f"{NAME}U0", f"{NAME}U1"),
    }


def test_an_annotation_has_another_key_each_time_and_one_that_cdi_takes() -> None:
    config = Config(device_list_strategy=("cdi-annotations",))
    found = [
        allocate.answer(config, FACTS, GPU, [device(0)], ["U0"], ()).annotations for _ in range(2)
    ]
    first, second = (next(iter(one)) for one in found)
    assert first != second
    assert len(first.partition("/")[2]) <= 63


def test_device_nodes_are_those_of_the_host_behind_the_control_nodes() -> None:
    facts = dataclasses.replace(
        FACTS,
        control=("/dev/nvidiactl", "/dev/nvidia-uvm"),
        channels=(0,),
        roots=Roots(host_dev="/run/nvidia/driver"),
    )
    found = answered("U10", "U2", facts=facts, pass_device_specs=True)
    paths = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia2", "/dev/nvidia10"]
    assert found["devices"] == tuple(
        {"container_path": path, "host_path": f"/run/nvidia/driver{path}", "permissions": "rw"}
        for path in [*paths, "/dev/nvidia-caps-imex-channels/channel0"]
    )


def test_the_host_s_own_dev_is_named_without_a_second_slash() -> None:
    found = answered("U0", pass_device_specs=True)
    assert [one["host_path"] for one in found["devices"]] == ["/dev/nvidia0"]


def test_all_ways_at_once_are_the_field_s_mixed_answer() -> None:
    found = answered(
        "U0",
        device_list_strategy=("envvar", "volume-mounts", "cdi-annotations"),
        cdi_annotation_prefix="nvidia.cdi.k8s.io/",
        gdrcopy_enabled=True,
        gds_enabled=True,
        mofed_enabled=True,
    )
    groups = ",".join(f"k8s.device-plugin.nvidia.com/{name}=all" for name in EVERY)
    assert found["annotations"] == {
        "nvidia.cdi.k8s.io/nvidia-device-plugin_t": f"{NAME}U0,{groups}"
    }
    assert found["envs"] == {
        "NVIDIA_GDRCOPY": "enabled",
        "NVIDIA_GDS": "enabled",
        "NVIDIA_MOFED": "enabled",
        "NVIDIA_VISIBLE_DEVICES": "/var/run/nvidia-container-devices",
    }


@pytest.mark.parametrize("there", [(), ("gds",), ("gdrcopy", "mofed")])
def test_a_group_without_hardware_is_not_named(there: tuple[str, ...]) -> None:
    config = Config(
        device_list_strategy=("cdi-cri",),
        gds_enabled=True,
        gdrcopy_enabled=True,
        mofed_enabled=True,
    )
    found = allocate.answer(config, FACTS, GPU, [device(0)], ["U0"], there)
    names = [f"k8s.device-plugin.nvidia.com/{name}=all" for name in there]
    assert found.cdi_devices == (f"{NAME}U0", *names)


def test_channels_go_the_way_of_the_devices() -> None:
    facts = dataclasses.replace(FACTS, channels=(0,))
    found = answered("U0", facts=facts)
    assert found["envs"] == {"NVIDIA_VISIBLE_DEVICES": "U0", "NVIDIA_IMEX_CHANNELS": "0"}
    found = answered("U0", facts=facts, device_list_strategy=("volume-mounts",))
    assert "NVIDIA_IMEX_CHANNELS" not in found["envs"]
    assert found["mounts"][1]["container_path"] == "/var/run/nvidia-container-devices/imex/0"
    found = answered("U0", facts=facts, device_list_strategy=("cdi-cri",))
    assert found["cdi_devices"][1] == "k8s.device-plugin.nvidia.com/imex-channel=0"


def test_replicas_of_one_gpu_are_one_device() -> None:
    found = answered("U0::1", "U0::0", offered=shared(0, 3))
    assert found == {"envs": {"NVIDIA_VISIBLE_DEVICES": "U0"}}


MPS: dict[str, Any] = {
    "mps_root": "/run/nvidia/mps",
    "sharing": Sharing(mps=Shares(resources=(Shared(name=GPU, replicas=4),))),
}


def test_replicas_by_mps_find_its_daemon() -> None:
    found = answered("U3::3", offered=shared(3, 4), **MPS)
    assert found["envs"] == {
        "CUDA_MPS_PIPE_DIRECTORY": "/mps/nvidia.com/gpu/pipe",
        "NVIDIA_VISIBLE_DEVICES": "U3",
    }
    assert [(one["container_path"], one["host_path"]) for one in found["mounts"]] == [
        ("/mps/nvidia.com/gpu/pipe", "/run/nvidia/mps/nvidia.com/gpu/pipe"),
        ("/dev/shm", "/run/nvidia/mps/shm"),
    ]


def test_a_gpu_that_is_not_shared_has_no_daemon() -> None:
    assert answered("U0", **MPS) == {"envs": {"NVIDIA_VISIBLE_DEVICES": "U0"}}


def test_an_unknown_device_is_refused_in_the_field_s_words() -> None:
    with pytest.raises(ToolkitError) as caught:
        answered("U0", "nope")
    assert caught.value.message == (
        'invalid allocation request for "nvidia.com/gpu": invalid request: unknown device: nope'
    )


def test_several_replicas_are_refused_where_the_configuration_says_so() -> None:
    entry = Shared(name=GPU, replicas=3)
    way = Shares(resources=(entry,), fail_requests_greater_than_one=True)
    with pytest.raises(ToolkitError) as caught:
        answered("U0::0", "U0::1", offered=shared(0, 3), sharing=Sharing(time_slicing=way))
    assert caught.value.message == (
        'invalid allocation request for "nvidia.com/gpu": invalid request: '
        "maximum request size for shared resources is 1; found 2"
    )


def test_several_whole_gpus_beside_shared_ones_are_given() -> None:
    entry = Shared(name=GPU, replicas=3, devices=("0",))
    way = Shares(resources=(entry,), fail_requests_greater_than_one=True)
    found = answered("U4", "U5", sharing=Sharing(time_slicing=way))
    assert found["envs"] == {"NVIDIA_VISIBLE_DEVICES": "U4,U5"}


@hypothesis.given(strategies.permutations(range(8)), strategies.integers(1, 8))
def test_the_order_of_a_request_says_nothing(order: list[int], size: int) -> None:
    asked = [f"U{number}" for number in order[:size]]
    ways = ("envvar", "volume-mounts", "cdi-annotations", "cdi-cri")
    config: dict[str, Any] = {"device_list_strategy": ways, "pass_device_specs": True}
    assert answered(*asked, **config) == answered(*sorted(asked), **config)


WAYS = ("envvar", "volume-mounts", "cdi-annotations", "cdi-cri")
SUBSETS = [ways for size in range(1, 5) for ways in itertools.combinations(WAYS, size)]


@pytest.mark.parametrize("ways", SUBSETS, ids="+".join)
def test_each_way_adds_its_part_to_the_others(ways: tuple[str, ...]) -> None:
    facts = dataclasses.replace(FACTS, channels=(0,))
    found = answered("U1", facts=facts, device_list_strategy=ways, gds_enabled=True)
    alone = {
        way: answered("U1", facts=facts, device_list_strategy=(way,), gds_enabled=True)
        for way in ways
    }
    envs = {name: value for one in alone.values() for name, value in one["envs"].items()}
    assert found == {
        **{name: value for one in alone.values() for name, value in one.items()},
        "envs": dict(sorted(envs.items())),
    }


def test_a_mig_device_goes_by_its_uuid_or_its_place() -> None:
    slices = [device(0, id="MIG-1", uuid="MIG-1", index="0:1", parent_uuid="U0")]
    for way, name in (("uuid", "MIG-1"), ("index", "0:1")):
        found = answered("MIG-1", offered=slices, device_id_strategy=way)
        assert found == {"envs": {"NVIDIA_VISIBLE_DEVICES": name}}
