# SPDX-License-Identifier: Apache-2.0
"""`--restart`: the daemon reads the new file, or the old one is back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import checkout
import pytest
import trees
from command_line import Outcome, gpubind
from engine_runs import BARE, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DOUBLE = os.path.join(checkout.ROOT, "tests", "daemon_double.py")


@pytest.fixture
def dockerd(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Give a function that starts a daemon of some manner; it ends with the test."""
    trees.build(tmp_path, {"/daemon.json": BARE})
    started = []

    def start(manner: str) -> subprocess.Popen[bytes]:
        place = f"--host=unix://{tmp_path}/s"
        words = ["dockerd", DOUBLE, f"--config-file={tmp_path}/daemon.json", place, manner]
        one = subprocess.Popen(words, executable=sys.executable)
        started.append(one)
        while not (tmp_path / "s").exists():
            time.sleep(0.01)
        return one

    yield start
    for one in started:
        one.kill()
        one.wait()


def configure(place: Path, *words: str) -> Outcome:
    """Configure the docker of this place; other tests' daemons load other files."""
    given = ("--restart=signal", "--restart-timeout=2", *own(place))
    return gpubind("runtime", "configure", *given, *words)


def own(place: Path) -> tuple[str, ...]:
    return (f"--config={place}/daemon.json", f"--state-dir={place}/state")


def test_a_daemon_that_loads_the_file_has_the_runtime(
    tmp_path: Path, dockerd: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    dockerd("loads")
    outcome = configure(tmp_path)
    assert (outcome.status, (tmp_path / "daemon.json").read_bytes()) == (0, OURS), outcome.err
    assert outcome.err.splitlines()[-1] == "gpubind: docker is up, with the runtime nvidia"


def test_a_daemon_that_does_not_take_the_file_gets_the_old_one_back(
    tmp_path: Path, dockerd: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    dockerd("refuses")
    outcome = configure(tmp_path)
    assert (outcome.status, (tmp_path / "daemon.json").read_bytes()) == (1, BARE)
    assert "the old one is back, and docker is up with it" in outcome.err
    assert os.listdir(tmp_path / "state") == ["lock"]


def test_a_daemon_that_dies_of_it_leaves_the_old_file(
    tmp_path: Path, dockerd: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    one = dockerd("dies")
    outcome = configure(tmp_path)
    assert (outcome.status, (tmp_path / "daemon.json").read_bytes()) == (1, BARE)
    assert "the old one is back, and docker is still down" in outcome.err
    assert one.wait() == 1


def test_nothing_is_restarted_without_being_asked(
    tmp_path: Path, dockerd: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    one = dockerd("dies")
    outcome = gpubind("runtime", "configure", *own(tmp_path))
    assert outcome.status == 0
    assert outcome.err.splitlines()[-2:] == [
        "gpubind: It is recommended that docker daemon be restarted.",
        "gpubind: it looks for the hook of --gpus only when it starts: systemctl restart docker",
    ]
    assert one.poll() is None


def test_a_change_that_waits_for_a_restart_gets_it(
    tmp_path: Path, dockerd: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    dockerd("loads")
    assert gpubind("runtime", "configure", *own(tmp_path)).status == 0
    outcome = configure(tmp_path)
    assert outcome.status == 0
    assert outcome.err.splitlines()[-2:] == [
        f"gpubind: {tmp_path}/daemon.json is as wanted; nothing is changed",
        "gpubind: docker is up, with the runtime nvidia",
    ]


def unconfigure(place: Path) -> Outcome:
    return gpubind("runtime", "unconfigure", "--restart=signal", "--restart-timeout=2", *own(place))


def test_a_daemon_gives_the_runtime_up_when_it_is_given_back(
    tmp_path: Path, dockerd: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    dockerd("loads")
    assert configure(tmp_path).status == 0
    outcome = unconfigure(tmp_path)
    assert (outcome.status, (tmp_path / "daemon.json").read_bytes()) == (0, BARE), outcome.err
    assert outcome.err.splitlines()[-1] == "gpubind: docker is up, as before us"
    assert os.listdir(tmp_path / "state") == ["lock"]


def test_a_daemon_that_does_not_come_up_without_us_keeps_us_and_the_journal(
    tmp_path: Path, dockerd: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    assert gpubind("runtime", "configure", *own(tmp_path)).status == 0
    one = dockerd("clings")
    outcome = unconfigure(tmp_path)
    assert (outcome.status, (tmp_path / "daemon.json").read_bytes()) == (1, OURS)
    assert "the old one is back, and docker is still down" in outcome.err
    assert one.wait() == 1
    assert gpubind("runtime", "unconfigure", *own(tmp_path)).status == 0
    assert (tmp_path / "daemon.json").read_bytes() == BARE


def test_unconfigure_says_what_to_restart_and_why(tmp_path: Path) -> None:
    assert gpubind("runtime", "configure", *own(tmp_path)).status == 0
    outcome = gpubind("runtime", "unconfigure", *own(tmp_path))
    assert outcome.err.splitlines()[-2:] == [
        "gpubind: It is recommended that docker daemon be restarted.",
        "gpubind: it looks for the hook of --gpus only when it starts: systemctl restart docker",
    ]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ((), 1, "no dockerd is running; leave --restart out, and start it"),
        (("--runtime=containerd",), 1, "containerd has no signal for it"),
        (("--runtime=podman",), 2, "this engine has no daemon"),
    ],
)
def test_where_nothing_can_be_restarted_nothing_is_changed(
    tmp_path: Path, words: tuple[str, ...], status: int, message: str
) -> None:
    outcome = configure(tmp_path, *words)
    assert (outcome.status, message in outcome.err) == (status, True), outcome.err
    assert os.listdir(tmp_path) == []


def test_status_tells_whether_the_daemon_has_started_since(
    tmp_path: Path, dockerd: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    one = dockerd("loads")
    assert gpubind("runtime", "configure", *own(tmp_path)).status == 0
    before = gpubind("runtime", "status", "--runtime=docker", *own(tmp_path))
    assert "daemon restarted since: no" in before.out
    one.kill()
    one.wait()
    (tmp_path / "s").unlink()
    time.sleep(1.1)  # a process' start is known to a second or so
    dockerd("loads")
    after = gpubind("runtime", "status", "--runtime=docker", *own(tmp_path))
    assert "daemon restarted since: yes" in after.out


def test_where_several_run_the_one_that_is_meant_must_be_named(
    tmp_path: Path, dockerd: Callable[..., subprocess.Popen[bytes]]
) -> None:
    dockerd("loads")
    (tmp_path / "s").rename(tmp_path / "first")
    dockerd("loads")
    outcome = gpubind("runtime", "configure", "--dry-run", f"--state-dir={tmp_path}/state")
    assert (outcome.status, "several dockerd are running, as processes" in outcome.err) == (1, True)
    assert "name the file of the one that is meant with --config" in outcome.err
