# SPDX-License-Identifier: Apache-2.0
"""The plugin's values as messages of the API, and what matters of a request as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpubind_plugin.api import messages

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gpubind_plugin.allocate import Answer
    from gpubind_plugin.device import Device

HEALTHY, UNHEALTHY = "Healthy", "Unhealthy"


def options() -> Any:
    """Give what the kubelet is told that we can do."""
    return messages.DevicePluginOptions(get_preferred_allocation_available=True)


def listed(devices: Sequence[Device], unhealthy: Collection[str]) -> bytes:
    """Give a ListAndWatchResponse of the devices; `unhealthy` are ids of some."""
    return bytes(
        messages.ListAndWatchResponse(
            devices=[_device(one, healthy=one.id not in unhealthy) for one in devices]
        ).SerializeToString()
    )


def _device(device: Device, *, healthy: bool) -> Any:
    topology = None
    if device.numa >= 0:
        topology = messages.TopologyInfo(nodes=[messages.NUMANode(ID=device.numa)])
    health = HEALTHY if healthy else UNHEALTHY
    return messages.Device(ID=device.id, health=health, topology=topology)


def allocated(answers: Iterable[Answer]) -> Any:
    """Give an AllocateResponse."""
    return messages.AllocateResponse(container_responses=[_answer(one) for one in answers])


def _answer(answer: Answer) -> Any:
    return messages.ContainerAllocateResponse(
        envs=answer.envs,
        mounts=[
            messages.Mount(
                container_path=one.container_path,
                host_path=one.host_path,
                read_only=one.read_only,
            )
            for one in answer.mounts
        ],
        devices=[
            messages.DeviceSpec(
                container_path=one.container_path,
                host_path=one.host_path,
                permissions=one.permissions,
            )
            for one in answer.devices
        ],
        annotations=answer.annotations,
        cdi_devices=[messages.CDIDevice(name=name) for name in answer.cdi_devices],
    )


def preferred(choices: Iterable[Sequence[str]]) -> Any:
    """Give a PreferredAllocationResponse of the ids chosen for each container."""
    one = messages.ContainerPreferredAllocationResponse
    return messages.PreferredAllocationResponse(
        container_responses=[one(deviceIDs=ids) for ids in choices]
    )


def started() -> Any:
    """Give a PreStartContainerResponse."""
    return messages.PreStartContainerResponse()
