# SPDX-License-Identifier: Apache-2.0
"""The resident refresh sees what happens to a node, and looks once however much happens."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from refresh_hosts import Host

from gpubind_ctl.refresh import once, watch
from gpubind_ctl.refresh.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMES = watch.Times(quiet_s=0.05, longest_s=0.5, interval_s=0.02)


class Wire:
    """A source whose other end is a test: each datagram is something that happened."""

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, kind)

    def fileno(self) -> int:
        return self.ours.fileno()

    def heard(self) -> str:
        reason = ""
        while True:
            try:
                reason = self.ours.recv(100).decode() or reason
            except BlockingIOError:
                return reason

    def send(self, text: str) -> None:
        self.theirs.send(text.encode())


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.ours.close()
    made.theirs.close()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def reasons(
    wire: Wire,
    *steps: Callable[[], object],
    changed: Callable[[], str] = str,
    again: float = 0.0,
    interval_s: float = 60.0,
    quiet_s: float = 0.05,
) -> list[str]:
    """Give why it was looked; after each look the next of `steps` happens, then it ends."""
    found: list[str] = []
    left = list(steps)

    def look(reason: str) -> float:
        found.append(reason)
        if not left:
            raise watch.Stopped
        left.pop(0)()
        return again

    longest_s = quiet_s * 10
    times = watch.Times(quiet_s=quiet_s, longest_s=longest_s, interval_s=interval_s)
    with pytest.raises(watch.Stopped):
        watch.watch(lambda: (wire,), look, changed, times)
    return found


def test_it_looks_at_once_and_when_something_happens(wire: Wire) -> None:
    assert reasons(wire, lambda: wire.send("plugged")) == ["", "plugged"]


def test_a_storm_has_it_look_once(wire: Wire) -> None:
    def storm() -> None:
        for number in range(100):
            wire.send(f"event {number}")

    assert reasons(wire, storm) == ["", "event 99"]


def test_a_storm_with_lulls_has_it_look_once(wire: Wire) -> None:
    later = [threading.Timer(0.02 * number, wire.send, [str(number)]) for number in range(1, 6)]

    def storm() -> None:
        wire.send("0")
        for one in later:
            one.start()

    assert reasons(wire, storm, quiet_s=2.0) == ["", "5"]
    for one in later:
        one.join()


def test_a_storm_that_goes_on_is_looked_at_all_the_same(wire: Wire) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", "import os,time\nwhile 1: os.write(1, b'more'); time.sleep(.01)"],
        stdout=wire.theirs.fileno(),
    )
    try:
        assert reasons(wire, lambda: None) == ["", "more"]
    finally:
        writer.kill()
        writer.wait()


def test_what_the_kernel_does_not_tell_is_looked_for(wire: Wire) -> None:
    asked: list[int] = []

    def changed() -> str:
        asked.append(1)
        return "a file" if len(asked) == 3 else ""

    assert reasons(wire, lambda: None, changed=changed, interval_s=0.01) == ["", "a file"]


def test_a_look_that_failed_is_done_again(wire: Wire) -> None:
    assert reasons(wire, lambda: None, again=0.01) == ["", "another try"]


def test_a_hangup_among_other_things_is_not_forgotten(wire: Wire) -> None:
    sent = threading.Timer(0.02, lambda: wire.send("later"))

    def both() -> None:
        wire.send(watch.HANGUP)
        sent.start()

    assert reasons(wire, both) == ["", watch.HANGUP]
    sent.join()


def watched(host: Host, wire: Wire, *steps: Callable[[], object]) -> tuple[list[str], list[str]]:
    """Run the service while one step after the other happens; give the states and what was said.

    The service ends after the look that follows the last step.
    """
    lines: list[str] = []
    states: list[str] = []
    service = Service(host.job, lines.append, others=(wire,))
    left = list(steps)

    def look(reason: str) -> float:
        again = service.look(reason)
        states.append(last(host))
        if not left:
            raise watch.Stopped
        left.pop(0)()
        return again

    with pytest.raises(watch.Stopped):
        watch.watch(service.sources, look, service.changed, TIMES)
    return states, lines


def last(host: Host) -> str:
    return "there" if host.output.exists() else "none"


def test_it_follows_a_driver_that_goes_and_comes(host: Host, wire: Wire) -> None:
    kept = host.place / "kept"
    states, lines = watched(
        host,
        wire,
        lambda: os.rename(host.root / "proc/driver", kept),
        lambda: os.rename(kept, host.root / "proc/driver"),
    )
    assert states == ["there", "none", "there"]
    assert [line.partition(" (")[0] for line in lines] == [
        f"{host.output}: CDI 0.5.0, 3 devices of nvidia.com/gpu",
        f"{host.output} is withdrawn: the kernel module nvidia is not loaded",
        f"{host.output}: CDI 0.5.0, 3 devices of nvidia.com/gpu",
    ]


def partition(host: Host) -> None:
    facts = host.inventory()
    gpu = next(one for one in facts["gpus"] if len(one["mig"]["instances"]) == 7)
    part = gpu["mig"]["instances"].pop()
    host.take(facts)
    folder = host.root / f"proc/driver/nvidia/capabilities/gpu{gpu['minor']}/mig"
    shutil.rmtree(folder / f"gi{part['gi']}")


def upgrade(host: Host) -> None:
    library = host.root / "usr/lib/x86_64-linux-gnu"
    for file in list(library.iterdir()):
        if not file.is_symlink() and ".550.54.15" in file.name:
            file.rename(library / file.name.replace("550.54.15", "550.90.07"))
    for file in library.iterdir():
        if file.is_symlink() and "550.54.15" in os.readlink(file):
            target = os.readlink(file).replace("550.54.15", "550.90.07")
            file.unlink()
            file.symlink_to(target)
    facts = host.inventory()
    host.upgrade("550.90.07")
    host.take(facts | {"driver": facts["driver"] | {"version": "550.90.07"}})


HAPPENS: dict[str, tuple[Callable[[Host], None], Callable[[str], int]]] = {
    "MIG": (partition, lambda text: text.count("name: MIG-")),
    "unplug": (lambda host: host.unplug(keep=2), lambda text: text.count("name: GPU-")),
    "upgrade": (upgrade, lambda text: text.count("550.90.07")),
}


@pytest.mark.parametrize("name", HAPPENS)
def test_it_follows_what_happens_without_being_told(tmp_path: Path, wire: Wire, name: str) -> None:
    host = Host(tmp_path, "dgx-a100-mig")
    happen, seen = HAPPENS[name]
    before: list[int] = []

    def act() -> None:
        before.append(seen(host.text()))
        happen(host)

    watched(host, wire, act)
    assert seen(host.text()) != before[0]


def test_it_looks_once_in_a_storm_at_a_node(host: Host, wire: Wire) -> None:
    def storm() -> None:
        (host.root / "dev/nvidia-fs0").touch()
        for number in range(50):
            wire.send(f"add nvidia {number}")

    time.sleep(0.05)
    watched(host, wire, storm)
    assert host.looks == 2


def test_what_stays_as_it_is_has_no_driver_asked(host: Host, wire: Wire) -> None:
    time.sleep(0.05)
    watched(host, wire, lambda: wire.send("add net veth0"))
    assert host.looks == 1


def test_a_hangup_has_the_driver_asked(host: Host, wire: Wire) -> None:
    time.sleep(0.05)
    watched(host, wire, lambda: wire.send(watch.HANGUP))
    assert host.looks == 2


def test_a_sick_driver_is_said_once_and_asked_less_and_less(host: Host) -> None:
    lines: list[str] = []
    service = Service(host.job, lines.append)
    service.look("")
    host.sicken()
    pauses = [service.look("another try") for _ in range(8)]
    assert pauses == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 320.0, 320.0]
    assert len(lines) == 2
    assert service.changed() == ""


def test_a_spec_that_somebody_removed_is_written_again(host: Host, wire: Wire) -> None:
    states, _ = watched(host, wire, host.output.unlink)
    assert states == ["there", "there"]


def test_a_host_without_gpu_says_nothing_and_is_ready(host: Host) -> None:
    host.unload()
    shutil.rmtree(host.root / "sys/bus/pci")
    lines: list[str] = []
    assert Service(host.job, lines.append, wait_s=60).look("") == 0
    assert (lines, once.NONE) == ([], "none")
