# SPDX-License-Identifier: Apache-2.0
"""A refresh waits for a driver that comes late, says for what, and for nothing that never comes."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from refresh_hosts import Host

from gpubind_ctl.refresh import once, presence, waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


class Sleeper:
    """Sleeps no time, but has one thing after the other happen, one each time."""

    def __init__(self, *happens: Callable[[], object]) -> None:
        self.happens = list(happens)
        self.slept = 0

    def __call__(self, seconds: float) -> None:
        self.slept += 1
        assert (seconds > 0, self.slept < 100) == (True, True)
        if self.happens:
            self.happens.pop(0)()


def nothing() -> None:
    pass


def told(host: Host, sleep: Callable[[float], None], wait_s: float = 60) -> tuple[str, list[str]]:
    """Give the state after waiting, and what was said meanwhile without the seconds left."""
    lines: list[str] = []
    outcome = waiting.refresh(host.job, wait_s, lines.append, sleep=sleep)
    return outcome.state, [line.partition(" s: ")[2] for line in lines]


def hidden(host: Host, name: str) -> Callable[[], object]:
    """Hide a part of the node; give what brings it back."""
    kept = host.place / "hidden"
    kept.mkdir(exist_ok=True)
    aside = kept / str(len(list(kept.iterdir())))
    os.rename(host.root / name, aside)
    return lambda: os.rename(aside, host.root / name)


def test_a_driver_that_is_there_is_not_waited_for(host: Host) -> None:
    assert told(host, Sleeper()) == (once.WRITTEN, [])


PARTS = {
    "proc/driver": "the kernel module nvidia is not loaded",
    "usr/lib/x86_64-linux-gnu": "no library of the driver is in {root}",
    "dev/nvidiactl": "there is no {root}/dev/nvidiactl",
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_comes_late_is_waited_for_and_said_once(host: Host, name: str) -> None:
    sleep = Sleeper(nothing, nothing, hidden(host, name))
    assert told(host, sleep) == (once.WRITTEN, [PARTS[name].format(root=host.root)])
    assert sleep.slept == 3


def test_a_driver_that_comes_in_parts_is_said_in_parts(host: Host) -> None:
    names = ("dev/nvidiactl", "usr/lib/x86_64-linux-gnu", "proc/driver")
    parts = [hidden(host, name) for name in names]
    state, lines = told(host, Sleeper(nothing, parts[2], nothing, parts[1], parts[0]))
    assert (state, lines) == (
        once.WRITTEN,
        [PARTS[name].format(root=host.root) for name in reversed(names)],
    )


def test_a_driver_root_that_comes_late_is_waited_for(host: Host) -> None:
    aside = host.place / "aside"
    os.rename(host.root, aside)
    lines: list[str] = []
    assert not host.root.exists()
    job = host.job
    waits = presence.hardware(job)  # this machine's own bus: no GPU, or one
    sleep = Sleeper(lambda: os.rename(aside, host.root))
    outcome = waiting.refresh(job, 60, lines.append, sleep=sleep)
    assert outcome.state == (once.WRITTEN if waits else once.NONE)


def test_a_driver_that_fails_at_first_is_asked_again(host: Host) -> None:
    whole = host.inventory()
    host.take(whole | {"gpus": []})
    sleep = Sleeper(lambda: host.take(whole))
    state, (line,) = told(host, sleep)
    assert (state, "[DRV-NO-GPU]" in line) == (once.WRITTEN, True)


def test_a_driver_that_fails_for_good_is_asked_once(host: Host) -> None:
    host.upgrade("550.90.07")
    assert told(host, Sleeper()) == (once.NONE, [])
    assert host.looks == 1


def test_a_host_without_gpu_waits_for_nothing(host: Host) -> None:
    host.unload()
    shutil.rmtree(host.root / "sys/bus/pci")
    assert told(host, Sleeper()) == (once.NONE, [])


def test_a_driver_that_never_comes_is_given_up_and_its_spec_withdrawn(host: Host) -> None:
    host.refresh()
    host.unload()
    state, lines = told(host, time.sleep, wait_s=0.3)
    assert (state, lines) == (once.WITHDRAWN, ["the kernel module nvidia is not loaded"])


def test_a_spec_stays_while_its_driver_is_waited_for(host: Host) -> None:
    host.refresh()
    seen: list[bool] = []
    back = hidden(host, "proc/driver")
    sleep = Sleeper(lambda: seen.append(host.output.exists()), back)
    assert (told(host, sleep)[0], seen) == (once.CURRENT, [True])
