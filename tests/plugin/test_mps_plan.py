# SPDX-License-Identifier: Apache-2.0
"""An MPS daemon has limits by its devices' replicas, and refuses what can't be shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpubind.errors import ToolkitError
from gpubind_plugin.device import Device
from gpubind_plugin.mps import plan, shm

if TYPE_CHECKING:
    from collections.abc import Iterator

GIB = 1 << 30


def replicas(gpu: int, count: int, **changes: Any) -> Iterator[Device]:
    for number in range(count):
        facts: dict[str, Any] = {
            "memory_bytes": 80 * GIB,
            "compute": "9.0",
            "replicas": count,
        } | changes
        identifier = f"GPU-{gpu}::{number}"
        yield Device(id=identifier, index=f"{gpu}", uuid=f"GPU-{gpu}", replica=number, **facts)


def test_a_daemon_has_the_fields_limits() -> None:
    found = plan.daemons({"nvidia.com/gpu": [*replicas(0, 4), *replicas(1, 4)]})
    assert found == [
        plan.Daemon(
            resource="nvidia.com/gpu",
            uuids=("GPU-0", "GPU-1"),
            limits=((0, 20480), (1, 20480)),
            percentage=25,
        )
    ]
    assert found[0].commands() == [
        "set_default_device_pinned_mem_limit 0 20480M",
        "set_default_device_pinned_mem_limit 1 20480M",
        "set_default_active_thread_percentage 25",
    ]


def test_gpus_shared_differently_have_their_own_memory_and_the_least_share() -> None:
    (found,) = plan.daemons({"r": [*replicas(0, 2), *replicas(1, 7)]})
    assert (found.limits, found.percentage) == (((0, 40960), (1, 11702)), 14)


def test_a_gpu_of_unknown_memory_has_no_limit() -> None:
    (found,) = plan.daemons({"r": [*replicas(0, 2, memory_bytes=0)]})
    assert found.commands() == ["set_default_active_thread_percentage 50"]


def test_what_is_not_shared_gets_no_daemon() -> None:
    alone = Device(id="GPU-0", index="0", uuid="GPU-0")
    assert plan.daemons({"nvidia.com/gpu": [alone], "empty": []}) == []


@pytest.mark.parametrize(
    ("compute", "most"),
    [("7.0", 16), ("7.5", 48), ("8.0", 48), ("10.0", 48), ("6.1", 16), ("", 16), ("x", 16)],
)
def test_how_many_clients_a_gpu_serves_goes_by_its_architecture(compute: str, most: int) -> None:
    assert plan.most_clients(compute) == most


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ([*replicas(0, 49)], "r: maximum allowed replicas exceeded: 49 > 48"),
        ([*replicas(0, 17, compute="7.0")], "r: maximum allowed replicas exceeded: 17 > 16"),
        (
            [Device(id="MIG-1::0", index="0:0", uuid="MIG-1", replicas=2)],
            "r: sharing using MPS is not supported for MIG devices",
        ),
        (
            [Device(id="all::0", index="all", uuid="all", replicas=2)],
            "r: sharing using MPS is not supported for device all",
        ),
    ],
)
def test_what_can_not_be_shared_is_refused(devices: list[Device], message: str) -> None:
    with pytest.raises(ToolkitError) as caught:
        plan.daemons({"r": devices})
    assert (caught.value.message, caught.value.identifier) == (message, "K8S-MPS")


@pytest.mark.parametrize(
    ("meminfo", "size"),
    [
        ("MemTotal:       16342448 kB\nMemFree: 1 kB\n", "8171224k"),
        ("MemFree: 1 kB\nMemTotal: 3 MB\n", "1m"),
        ("MemTotal: many kB\n", "65536k"),
        ("MemTotal: 12\n", "65536k"),
        ("", "65536k"),
    ],
)
def test_the_shared_memory_is_half_of_the_machines(meminfo: str, size: str) -> None:
    assert shm.size(meminfo) == size
