# SPDX-License-Identifier: Apache-2.0
"""What one resource answers, asked without a socket."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import pytest
from gpubind_cdi.inventory import Inventory

from gpubind.errors import ToolkitError
from gpubind_plugin.api import messages, wire
from gpubind_plugin.config import Config
from gpubind_plugin.device import Device
from gpubind_plugin.facts import Facts
from gpubind_plugin.logs import Log
from gpubind_plugin.service import Offered, Service, first_fit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

GPU = "nvidia.com/gpu"
NOTHING = Inventory(driver="550.54.15", cuda="12.4", gpus=())


class Counted:
    """Keeps what was counted."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def count(self, name: str, **labels: str) -> None:
        self.names.append(" ".join((name, *labels.values())))

    def devices(self, resource: str, all_of_them: int, unhealthy: int) -> None: ...

    def events(self, told: Mapping[str, int]) -> None: ...

    def looked(self, seconds: float, result: str) -> None: ...


def device(number: int, replica: int = -1, **more: Any) -> Device:
    uuid = f"GPU-{number}"
    shared = {"id": f"{uuid}::{replica}", "replicas": 2, "replica": replica}
    named = shared if replica >= 0 else {"id": uuid}
    return Device(**{"index": f"{number}", "uuid": uuid, **named, **more})


def offered(*devices: Device, unhealthy: Mapping[str, str] | None = None) -> Offered:
    return Offered(
        config=Config(),
        facts=Facts(inventory=NOTHING),
        devices=devices,
        unhealthy=unhealthy or {},
    )


def service(*devices: Device) -> Service:
    return Service(GPU, offered(*devices), counts=Counted(), log=Log(stream=io.StringIO()))


def health(sent: bytes) -> dict[str, str]:
    return {one.ID: one.health for one in messages.ListAndWatchResponse.FromString(sent).devices}


async def silent(stream: AsyncIterator[bytes]) -> asyncio.Task[bytes]:
    """Give the next list's task, which has had every chance to end and has not."""
    task = asyncio.ensure_future(anext(stream))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    return task


def test_a_list_is_sent_at_once_and_again_only_when_it_is_another() -> None:
    async def run() -> None:
        one = service(device(0), device(1))
        stream = one.watch()
        assert health(await anext(stream)) == {"GPU-0": "Healthy", "GPU-1": "Healthy"}
        waiting = await silent(stream)
        assert not one.offer(offered(device(0), device(1)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert one.offer(offered(device(0), device(1), unhealthy={"GPU-1": "Xid 79"}))
        assert health(await waiting) == {"GPU-0": "Healthy", "GPU-1": "Unhealthy"}

    asyncio.run(run())


def test_a_storm_of_changes_is_one_list_for_who_was_slow() -> None:
    async def run() -> None:
        one = service(device(0))
        stream = one.watch()
        await anext(stream)
        for number in range(1, 1000):
            one.offer(offered(*(device(index) for index in range(number % 7 + 1))))
        assert len(health(await anext(stream))) == 999 % 7 + 1
        (await silent(stream)).cancel()

    asyncio.run(run())


def test_a_change_that_is_taken_back_before_it_was_sent_is_no_change() -> None:
    async def run() -> None:
        one = service(device(0))
        stream = one.watch()
        await anext(stream)
        waiting = await silent(stream)
        one.offer(offered())
        one.offer(offered(device(0)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()

    asyncio.run(run())


def test_an_empty_list_is_sent_too() -> None:
    async def run() -> None:
        one = service()
        assert await anext(one.watch()) == b""

    asyncio.run(run())


def test_who_watches_is_let_go_at_the_end() -> None:
    async def run() -> None:
        one = service(device(0))
        stream = one.watch()
        await anext(stream)
        waiting = await silent(stream)
        one.close()
        with pytest.raises(StopAsyncIteration):
            await waiting

    asyncio.run(run())


def asked(*ids: str) -> Any:
    one = messages.ContainerAllocateRequest
    return messages.AllocateRequest(container_requests=[one(devices_ids=[name]) for name in ids])


def test_each_container_of_a_request_gets_its_own_answer() -> None:
    one = service(device(0), device(1))
    told = one.allocate(asked("GPU-1", "GPU-0")).container_responses
    assert [dict(answer.envs) for answer in told] == [
        {"NVIDIA_VISIBLE_DEVICES": "GPU-1"},
        {"NVIDIA_VISIBLE_DEVICES": "GPU-0"},
    ]


def test_what_is_given_and_what_is_refused_is_counted_and_said() -> None:
    counted, said = Counted(), io.StringIO()
    one = Service(GPU, offered(device(0)), counts=counted, log=Log(stream=said))
    one.allocate(asked("GPU-0"))
    with pytest.raises(ToolkitError, match="unknown device: GPU-9"):
        one.allocate(asked("GPU-9"))
    assert counted.names == [f"allocations {GPU}", f"allocation_errors {GPU}"]
    assert [line.split()[1] for line in said.getvalue().splitlines()] == ["info", "warning"]


def wanted(available: list[str], size: int, required: tuple[str, ...] = ()) -> Any:
    one = messages.ContainerPreferredAllocationRequest(
        available_deviceIDs=available, must_include_deviceIDs=required, allocation_size=size
    )
    return messages.PreferredAllocationRequest(container_requests=[one])


def test_a_preference_has_as_many_devices_as_are_asked_for_with_those_required() -> None:
    one = service(*(device(number) for number in range(4)))
    request = wanted(["GPU-0", "GPU-1", "GPU-3"], 2, ("GPU-3",))
    (answer,) = one.preferred(request).container_responses
    assert len(answer.deviceIDs) == 2
    assert "GPU-3" in answer.deviceIDs


def test_replicas_are_spread_over_the_gpus() -> None:
    one = service(*(device(number, replica) for number in range(2) for replica in range(2)))
    ids = [each.id for each in one.offered.devices]
    (answer,) = one.preferred(wanted(ids, 2)).container_responses
    assert {name.partition("::")[0] for name in answer.deviceIDs} == {"GPU-0", "GPU-1"}


def test_devices_nobody_knows_are_no_reason_to_refuse_a_pod_over_a_preference() -> None:
    one = service(device(0))
    choices = one.preferred(wanted(["GPU-0", "GPU-8", "GPU-9"], 2)).container_responses
    assert len(choices) == 1


def test_the_first_that_fit_are_the_required_ones_and_then_in_our_order() -> None:
    now = offered(device(2), device(0), device(1))
    assert first_fit(now, ["GPU-0", "GPU-1", "GPU-2"], ["GPU-1"], 2) == ["GPU-1", "GPU-2"]


def test_before_a_container_starts_there_is_nothing_to_do() -> None:
    one = service(device(0))
    request = messages.PreStartContainerRequest(devices_ids=["GPU-0"])
    assert one.pre_start(request) == messages.PreStartContainerResponse()
    assert one.options(messages.Empty()) == wire.options()
    assert not one.options(messages.Empty()).pre_start_required
