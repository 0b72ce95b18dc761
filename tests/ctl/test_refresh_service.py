# SPDX-License-Identifier: Apache-2.0
"""The resident refresh as a process: signals, the service manager, what it hears of GPUs."""

from __future__ import annotations

import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from command_line import PROGRAM
from refresh_hosts import Host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def started(host: Host, *more: str) -> subprocess.Popen[str]:
    words = ("cdi", "refresh", "--watch", "--interval=0.1", f"--driver-root={host.root}")
    places = (f"--output={host.output}", f"--state-dir={host.place}/state")
    return subprocess.Popen(
        (*PROGRAM, *words, *places, *more), stderr=subprocess.PIPE, text=True, env={}
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_to(host: Host, number: signal.Signals) -> None:
    service = started(host)
    assert service.stderr is not None
    line = service.stderr.readline()
    service.send_signal(number)
    rest = service.communicate(timeout=20)[1]
    assert (line, rest, service.returncode) == (
        f"gpubind: {host.output}: CDI 0.5.0, 3 devices of nvidia.com/gpu\n",
        "",
        0,
    )


def test_it_ends_when_told_to_while_it_waits(host: Host) -> None:
    host.unload()
    service = started(host, "--wait=60")
    assert service.stderr is not None
    line = service.stderr.readline()
    service.terminate()
    assert service.communicate(timeout=20)[1] == ""
    assert (service.returncode, "the kernel module nvidia is not loaded" in line) == (0, True)


def test_it_tells_the_service_manager_when_the_first_look_is_done(host: Host) -> None:
    place = str(host.place / "manager")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(place)
        manager.settimeout(20)
        words = ("cdi", "refresh", "--watch", f"--driver-root={host.root}")
        places = (f"--output={host.output}", f"--state-dir={host.place}/state")
        service = subprocess.Popen(
            (*PROGRAM, *words, *places),
            stderr=subprocess.DEVNULL,
            env={"NOTIFY_SOCKET": place},
        )
        told = manager.recv(1000).decode().splitlines()
        there = host.output.exists()
        service.terminate()
        last_words = manager.recv(1000).decode()
        assert service.wait(timeout=20) == 0
    status = f"STATUS={host.output}: CDI 0.5.0, 3 devices of nvidia.com/gpu"
    assert (told, there, last_words) == (["READY=1", status], True, "STOPPING=1")
