# SPDX-License-Identifier: Apache-2.0
"""What NVML tells of its GPUs while somebody listens; a GPU or a library that fails is told too."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING

import children
import pytest
import sick_nodes
from gpubind_cdi import events, listening, nvml_process
from sick_nodes import gpu, needs_stub, uuid

from gpubind.errors import ToolkitError
from gpubind.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpubind_cdi.events import Event

pytestmark = needs_stub

TWO = gpu(0) + gpu(1)


@contextlib.contextmanager
def listener(folder: Path, script: str) -> Iterator[listening.Listener]:
    with (
        Root(str(sick_nodes.node(folder, TWO + script))) as root,
        contextlib.closing(listening.to(root)) as source,
    ):
        yield source


def heard(source: events.GpuEvents, count: int, seconds: float = 20.0) -> list[Event]:
    """Give so many events, or those that came in time."""
    found: list[Event] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        found += source.wait(deadline - time.monotonic())
    return found


def facts(found: list[Event]) -> list[tuple[object, ...]]:
    return [(one.kind, one.uuid, one.gi, one.ci, one.code) for one in found]


def test_an_xid_is_told_with_its_gpu_or_mig_device(tmp_path: Path) -> None:
    script = "event 0 gpu=1 type=8 data=79\nevent 0.2 gpu=0 type=8 data=31 gi=3 ci=0\n"
    before = time.time()
    with listener(tmp_path, script) as source:
        found = heard(source, 2)
    assert facts(found) == [("xid", uuid(1), None, None, 79), ("xid", uuid(0), 3, 0, 31)]
    assert all(before <= one.time <= time.time() for one in found)


def test_memory_errors_and_changed_mig_devices_are_told(tmp_path: Path) -> None:
    script = "event 0 gpu=0 type=2 data=7\nevent 0 gpu=1 type=256\n"
    with listener(tmp_path, script) as source:
        assert facts(heard(source, 2)) == [
            ("ecc", uuid(0), None, None, 0),
            ("mig", uuid(1), None, None, 0),
        ]


def test_where_nothing_happens_nothing_is_told_in_the_time_given(tmp_path: Path) -> None:
    with listener(tmp_path, "") as source:
        assert source.wait(0) == []
        began = time.monotonic()
        assert source.wait(0.3) == []
        assert 0.3 <= time.monotonic() - began < 5


def test_what_nobody_fetched_for_a_while_is_all_told(tmp_path: Path) -> None:
    script = "".join(f"event 0 gpu=1 type=8 data={number}\n" for number in range(1, 61))
    with listener(tmp_path, script) as source:
        time.sleep(1)
        assert [one.code for one in heard(source, 60)] == [*range(1, 61)]


def test_the_descriptor_is_readable_where_something_is_to_be_told(tmp_path: Path) -> None:
    with listener(tmp_path, "event 0.5 gpu=1 type=8 data=79\n") as source:
        while not source.wait(0):
            poll = select.poll()
            poll.register(source.fileno(), select.POLLIN)
            assert poll.poll(20_000)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("call nvmlDeviceRegisterEvents 0 error=3", "Not Supported"),
        ("from 0 1 error=15", "GPU is lost"),
        (
            "call nvmlDeviceRegisterEvents 0 abort=1",
            "ended with signal 6 when asked to watch GPU 0",
        ),
    ],
)
def test_a_gpu_that_cannot_be_watched_is_told_and_the_other_is_watched(
    tmp_path: Path, line: str, message: str
) -> None:
    with listener(tmp_path, f"{line}\nevent 0 gpu=1 type=8 data=79\n") as source:
        unwatched, xid = heard(source, 2)
    assert unwatched.kind == "unwatched"
    assert message in unwatched.message
    assert facts([xid]) == [("xid", uuid(1), None, None, 79)]


@pytest.mark.parametrize(
    ("line", "identifier"),
    [
        ("call nvmlInit_v2 * error=9", "DRV-NOT-LOADED"),
        ("call nvmlInit_v2 * abort=1", "DRV-EVENTS"),
        ("event 0.1 error=15", "DRV-NVML"),
        ("call nvmlEventSetWait_v2 * abort=1", "DRV-EVENTS"),
    ],
)
def test_the_end_of_the_watching_is_told_each_time_without_waiting(
    tmp_path: Path, line: str, identifier: str
) -> None:
    with listener(tmp_path, f"{line}\n") as source:
        for _ in range(3):
            with pytest.raises(ToolkitError) as caught:
                source.wait(20)
            assert caught.value.identifier == identifier
        poll = select.poll()
        poll.register(source.fileno(), select.POLLIN)
        assert poll.poll(20_000)


def test_closing_leaves_no_process_and_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    known = children.mine()
    with listener(tmp_path, "call nvmlEventSetWait_v2 * sleep=60\n") as source:
        source.wait(0.2)
    source.close()
    assert children.mine() <= known
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("text", ["print('x')", "print('{}')", 'print(\'["event", {"a": 1}]\')'])
def test_a_process_that_makes_no_sense_is_the_end_of_the_watching(text: str) -> None:
    who = nvml_process.Driver("/x/libnvidia-ml.so.1", "")
    fd = os.open("/dev/null", os.O_RDONLY)
    with (
        contextlib.closing(
            listening.Listener(text.replace("{", "{{").replace("}", "}}"), fd, 3, who)
        ) as source,
        pytest.raises(ToolkitError, match=r"said what makes no sense.*\[DRV-EVENTS\]"),
    ):
        source.wait(20)


def test_a_root_without_a_driver_cannot_be_listened_to(tmp_path: Path) -> None:
    with Root(str(tmp_path)) as root, pytest.raises(ToolkitError, match=r"\[DRV-NOT-FOUND\]"):
        listening.to(root)
