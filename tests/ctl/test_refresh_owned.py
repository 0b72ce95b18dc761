# SPDX-License-Identifier: Apache-2.0
"""Only what we wrote is replaced or removed; two refreshes at once are one."""

from __future__ import annotations

import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

import pytest
from refresh_hosts import Host

from gpubind.errors import ToolkitError
from gpubind_ctl.refresh import lock, once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def another_program(host: Host) -> None:
    host.output.parent.mkdir()
    host.output.write_text("cdiVersion: 0.5.0\n")


def a_hand(host: Host) -> None:
    host.refresh()
    with open(host.output, "a", encoding="utf-8") as file:
        file.write("# mine\n")


def a_link(host: Host) -> None:
    host.refresh()
    os.rename(host.output, host.place / "elsewhere.yaml")
    host.output.symlink_to(host.place / "elsewhere.yaml")


def a_pipe(host: Host) -> None:
    host.output.parent.mkdir()
    os.mkfifo(host.output)


STRANGE: dict[str, Callable[[Host], None]] = {
    one.__name__: one for one in (another_program, a_hand, a_link, a_pipe)
}


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("name", STRANGE)
def test_a_file_that_is_not_ours_is_left_alone(host: Host, name: str, gone: bool) -> None:  # noqa: FBT001 - a case
    STRANGE[name](host)
    before = os.lstat(host.output)
    if gone:
        host.unload()
    else:
        (host.root / "dev/nvidia-fs0").touch()
    outcome = host.refresh(force=True)
    assert (outcome.state, outcome.status) == (once.REFUSED, 1)
    assert outcome.message == (
        f"{host.output} was not written by gpubind, or changed since: it is left alone; "
        "give another --output, or move the file away [REFRESH-FOREIGN]"
    )
    assert os.lstat(host.output) == before


def test_a_file_that_is_as_we_would_write_it_becomes_ours(host: Host) -> None:
    host.refresh()
    shutil.rmtree(host.place / "state")
    shutil.rmtree(host.place / "lasting")
    before = host.times()
    assert (host.refresh().state, host.times()) == (once.CURRENT, before)
    host.unload()
    assert host.refresh().state == once.WITHDRAWN


def test_a_spec_that_outlived_a_boot_is_still_ours(host: Host) -> None:
    host.refresh()
    shutil.rmtree(host.place / "state")
    (host.root / "dev/nvidia-modeset").unlink()
    assert host.refresh().state == once.WRITTEN
    shutil.rmtree(host.place / "state")
    host.unload()
    assert host.refresh().state == once.WITHDRAWN
    assert list((host.place / "lasting/receipts").iterdir()) == []


def test_a_receipt_of_other_bytes_makes_nothing_ours(host: Host) -> None:
    host.refresh()
    shutil.rmtree(host.place / "state")
    a_hand_again = host.output.read_text() + "# mine\n"
    host.output.write_text(a_hand_again)
    (host.root / "dev/nvidia-modeset").unlink()
    assert (host.refresh().state, host.text()) == (once.REFUSED, a_hand_again)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"sha256": 1}'])
def test_a_damaged_sidecar_ties_nothing(host: Host, damage: str) -> None:
    host.refresh()
    shutil.rmtree(host.place / "lasting")
    next((host.place / "state/sidecars").iterdir()).write_text(damage)
    (host.root / "dev/nvidia-modeset").unlink()
    assert host.refresh().state == once.REFUSED


def test_two_refreshes_at_once_ask_the_driver_once(host: Host) -> None:
    time.sleep(0.05)  # older than the clock's tick, so that one look is enough
    outcomes: list[str] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(host.refresh().state)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [once.CURRENT] * 7 + [once.WRITTEN]
    assert host.looks == 1


def test_a_refresh_that_hangs_is_not_waited_for_for_ever(host: Host) -> None:
    with (
        lock.held(host.job),
        pytest.raises(ToolkitError, match=r"has not ended in 0.1 s; .*\[REFRESH-BUSY\]"),
        lock.held(host.job, limit_s=0.1),
    ):
        pass


def test_a_full_disk_leaves_the_old_spec_and_is_told(host: Host) -> None:
    import resource
    import signal

    host.refresh()
    before = (host.times(), host.text())
    (host.root / "dev/nvidia-modeset").unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        outcome = host.refresh()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert outcome.state == once.REFUSED
    assert outcome.message == f"{host.output}: File too large [SYS-REFUSED]"
    assert (host.times(), host.text()) == before
