# SPDX-License-Identifier: Apache-2.0
"""The messages of the device plugin API against bytes written by hand from its field numbers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gpubind_plugin.allocate import Answer, DeviceSpec, Mount
from gpubind_plugin.api import messages, wire
from gpubind_plugin.device import Device


def field(number: int, content: bytes) -> bytes:
    """Give a length-delimited field, of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def number(place: int, value: int) -> bytes:
    """Give a varint field, of a value less than 128."""
    return bytes([place << 3, value])


NODE = number(1, 1)
TOPOLOGY = field(1, NODE)
DEVICE = field(1, b"GPU-1") + field(2, b"Healthy") + field(3, TOPOLOGY)
OPTIONS = number(1, 1) + number(2, 1)
WANTED = field(1, b"a") + field(1, b"b") + field(2, b"a") + number(3, 2)
CHOSEN = field(1, b"a") + field(1, b"b")
MOUNT = field(1, b"/c") + field(2, b"/h") + number(3, 1)
NODES = field(1, b"/c") + field(2, b"/h") + field(3, b"rw")
ENTRY = field(1, b"k") + field(2, b"v")
CDI = field(1, b"v/c=d")
GIVEN = field(1, ENTRY) + field(2, MOUNT) + field(3, NODES) + field(4, ENTRY) + field(5, CDI)

BYTES = {
    "Empty": b"",
    "DevicePluginOptions": OPTIONS,
    "RegisterRequest": field(1, b"v1beta1")
    + field(2, b"nvidia-gpu.sock")
    + field(3, b"nvidia.com/gpu")
    + field(4, number(2, 1)),
    "NUMANode": NODE,
    "TopologyInfo": TOPOLOGY,
    "Device": DEVICE,
    "ListAndWatchResponse": field(1, DEVICE) + field(1, field(1, b"GPU-2")),
    "PreStartContainerRequest": field(1, b"a") + field(1, b"b"),
    "PreStartContainerResponse": b"",
    "ContainerPreferredAllocationRequest": WANTED,
    "PreferredAllocationRequest": field(1, WANTED),
    "ContainerPreferredAllocationResponse": CHOSEN,
    "PreferredAllocationResponse": field(1, CHOSEN),
    "ContainerAllocateRequest": field(1, b"a") + field(1, b"b"),
    "AllocateRequest": field(1, field(1, b"a")) + field(1, field(1, b"b")),
    "Mount": MOUNT,
    "DeviceSpec": NODES,
    "CDIDevice": CDI,
    "ContainerAllocateResponse": GIVEN,
    "AllocateResponse": field(1, GIVEN),
}


def facts(message: object) -> object:
    """Give a message's set fields by name, all the way down."""
    if hasattr(message, "ListFields"):
        return {about.name: facts(value) for about, value in message.ListFields()}
    if hasattr(message, "items"):
        return dict(message.items())
    if isinstance(message, str | int):
        return message
    return [facts(one) for one in message]  # type: ignore[attr-defined]


MEANT = {
    "RegisterRequest": {
        "version": "v1beta1",
        "endpoint": "nvidia-gpu.sock",
        "resource_name": "nvidia.com/gpu",
        "options": {"get_preferred_allocation_available": True},
    },
    "Device": {"ID": "GPU-1", "health": "Healthy", "topology": {"nodes": [{"ID": 1}]}},
    "ContainerPreferredAllocationRequest": {
        "available_deviceIDs": ["a", "b"],
        "must_include_deviceIDs": ["a"],
        "allocation_size": 2,
    },
    "ContainerAllocateResponse": {
        "envs": {"k": "v"},
        "mounts": [{"container_path": "/c", "host_path": "/h", "read_only": True}],
        "devices": [{"container_path": "/c", "host_path": "/h", "permissions": "rw"}],
        "annotations": {"k": "v"},
        "cdi_devices": [{"name": "v/c=d"}],
    },
}


def test_every_message_is_written_by_hand_here() -> None:
    assert sorted(BYTES) == sorted(messages.FIELDS)


@pytest.mark.parametrize("name", sorted(BYTES))
def test_a_message_is_read_from_its_bytes_and_written_as_them(name: str) -> None:
    read = messages.CLASSES[name].FromString(BYTES[name])
    read.DiscardUnknownFields()
    assert read.SerializeToString(deterministic=True) == BYTES[name]


@pytest.mark.parametrize("name", sorted(MEANT))
def test_each_field_has_the_name_the_api_gives_it(name: str) -> None:
    assert facts(messages.CLASSES[name].FromString(BYTES[name])) == MEANT[name]


def test_a_field_of_a_later_api_is_no_error() -> None:
    later = DEVICE + field(9, b"later")
    assert messages.Device.FromString(later).ID == "GPU-1"


def test_there_is_no_other_message() -> None:
    with pytest.raises(AttributeError, match="no message Pod"):
        _ = messages.Pod


def test_a_list_of_devices_has_health_and_where_it_is_known_the_numa_node() -> None:
    devices = (
        Device(id="GPU-1", index="0", uuid="GPU-1", numa=1),
        Device(id="GPU-2", index="1", uuid="GPU-2"),
    )
    second = field(1, b"GPU-2") + field(2, b"Unhealthy")
    assert wire.listed(devices, {"GPU-2"}) == field(1, DEVICE) + field(1, second)


def test_an_answer_has_all_that_the_container_gets() -> None:
    answer = Answer(
        envs={"k": "v"},
        mounts=(Mount(container_path="/c", host_path="/h", read_only=True),),
        devices=(DeviceSpec(container_path="/c", host_path="/h"),),
        annotations={"k": "v"},
        cdi_devices=("v/c=d",),
    )
    assert wire.allocated([answer]).SerializeToString() == field(1, GIVEN)


def test_protobuf_in_pure_python_makes_the_same_messages() -> None:
    program = (
        "from gpubind_plugin.api import messages as m; import sys; "
        "sys.stdout.write(m.ContainerAllocateResponse(envs={'k': 'v'})"
        ".SerializeToString().hex())"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert bytes.fromhex(told.stdout) == field(1, ENTRY)
