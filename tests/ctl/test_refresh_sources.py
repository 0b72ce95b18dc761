# SPDX-License-Identifier: Apache-2.0
"""What the resident refresh listens to: the kernel, and the driver's own word on its GPUs."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from gpubind_cdi import events
from gpubind_cdi.events import Event

from gpubind.errors import ToolkitError
from gpubind_ctl.refresh import uevents, watch
from gpubind_ctl.refresh.gpus import REST_S, Gpus

if TYPE_CHECKING:
    from collections.abc import Sequence


def uevent(header: str, **facts: str) -> bytes:
    return b"\0".join([header.encode(), *(f"{k}={v}".encode() for k, v in facts.items()), b""])


BUS = "/devices/pci0000:00/0000:00:1e.0"
MATTERS = {
    "a module": (uevent("add@/module/nvidia", SUBSYSTEM="module"), "add module nvidia"),
    "another": (
        uevent("remove@/module/nvidia_uvm", SUBSYSTEM="module"),
        "remove module nvidia_uvm",
    ),
    "a GPU": (
        uevent(f"add@{BUS}", SUBSYSTEM="pci", PCI_ID="10DE:1EB8"),
        "add pci 0000:00:1e.0",
    ),
    "a driver": (
        uevent(f"bind@{BUS}", SUBSYSTEM="pci", DRIVER="nvidia", PCI_ID="10de:1eb8"),
        "bind pci 0000:00:1e.0",
    ),
    "a card": (uevent(f"add@{BUS}/drm/card1", SUBSYSTEM="drm"), "add drm card1"),
    "a node": (
        uevent("add@/devices/virtual/nvidia/x", SUBSYSTEM="nvidia-caps"),
        "add nvidia-caps x",
    ),
    "a connector": (uevent(f"change@{BUS}/drm/card1/card1-HDMI-A-1", SUBSYSTEM="drm"), ""),
    "a network card": (uevent("add@/devices/x", SUBSYSTEM="pci", PCI_ID="8086:1521"), ""),
    "a container's network": (uevent("add@/devices/virtual/net/veth0", SUBSYSTEM="net"), ""),
    "another module": (uevent("add@/module/xfs", SUBSYSTEM="module"), ""),
    "udev's own": (b"libudev\0\xfe\xed\xca\xfe", ""),
    "nothing": (b"", ""),
    "no text": (b"\xff@\xff\0SUBSYSTEM=\xff", ""),
    "no subsystem": (b"add@/module/nvidia\0", ""),
}


@pytest.mark.parametrize("name", MATTERS)
def test_events_that_may_change_a_spec_matter(name: str) -> None:
    data, reason = MATTERS[name]
    assert uevents.matters(data) == reason


@pytest.fixture
def kernel() -> uevents.Uevents:
    try:
        return uevents.Uevents()
    except OSError as error:
        pytest.skip(f"the kernel tells nothing here: {error.strerror}")


def test_the_kernels_socket_is_silent_while_nothing_happens(kernel: uevents.Uevents) -> None:
    assert watch.heard((kernel,), 0.01) == ""
    kernel.close()


def test_an_event_that_is_not_the_kernels_is_not_believed(kernel: uevents.Uevents) -> None:
    data = uevent("add@/module/nvidia", SUBSYSTEM="module")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, uevents.FAMILY) as forger:
        forger.bind((0, 0))
        with socket.socket(fileno=os.dup(kernel.fileno())) as address:
            to = address.getsockname()[0]
        try:
            forger.sendto(data, (to, 0))
        except OSError as error:
            pytest.skip(f"nobody can send here: {error.strerror}")
    assert watch.heard((kernel,), 0.05) == ""
    kernel.close()


class Driver:
    """A driver that tells what a test says, then that it tells no more."""

    def __init__(self, *told: Sequence[Event]) -> None:
        self.told = list(told)
        self.reader, self.writer = os.pipe()
        self.closed = 0
        os.write(self.writer, b"x")

    def fileno(self) -> int:
        return self.reader

    def wait(self, timeout_s: float) -> Sequence[Event]:
        assert timeout_s == 0
        if not self.told:
            raise ToolkitError("it ended", identifier="DRV-EVENTS")
        return self.told.pop(0)

    def close(self) -> None:
        self.closed += 1
        os.close(self.reader)
        os.close(self.writer)


EVENTS = {
    "mig": (Event(kind=events.MIG, time=1.0, uuid="GPU-1"), "mig of GPU GPU-1"),
    "lost": (Event(kind=events.XID, time=1.0, uuid="GPU-1", code=79), "xid of GPU GPU-1"),
    "a program's fault": (Event(kind=events.XID, time=1.0, uuid="GPU-1", code=31), ""),
    "memory": (Event(kind=events.ECC, time=1.0, uuid="GPU-1"), ""),
    "not watched": (Event(kind=events.UNWATCHED, time=1.0), ""),
}


@pytest.mark.parametrize("name", EVENTS)
def test_what_happens_to_a_gpu_matters_where_its_spec_may_change(name: str) -> None:
    event, reason = EVENTS[name]
    gpus = Gpus(lambda: Driver([event]))
    gpus.begin()
    assert gpus.heard() == reason
    gpus.close()


def test_a_driver_that_tells_no_more_is_listened_to_again_after_a_rest() -> None:
    now = [0.0]
    begun: list[Driver] = []

    def begin() -> Driver:
        begun.append(Driver())
        return begun[-1]

    gpus = Gpus(begin, clock=lambda: now[0])
    assert gpus.fileno() == -1
    gpus.begin()
    gpus.begin()
    assert watch.heard((gpus,), 1) == "the driver, which tells no more of its GPUs"
    assert (watch.heard((gpus,), 0.01), gpus.fileno()) == ("", -1)
    gpus.begin()
    assert len(begun) == 1
    now[0] = REST_S
    gpus.begin()
    assert (len(begun), begun[0].closed) == (2, 1)
    gpus.close()


def test_a_driver_that_lets_nobody_listen_is_asked_again_after_a_rest() -> None:
    asked: list[int] = []

    def begin() -> Driver:
        asked.append(1)
        raise ToolkitError("not now", identifier="DRV-NOT-LOADED")

    gpus = Gpus(begin, clock=lambda: 0.0)
    gpus.begin()
    gpus.begin()
    assert (len(asked), gpus.heard()) == (1, "")
