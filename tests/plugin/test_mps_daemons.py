# SPDX-License-Identifier: Apache-2.0
"""The MPS daemons of a node are started, watched and stopped, by stubs of the driver's programs."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from mps_nodes import STARTED, Node, end, until

from gpubind_plugin import main, options
from gpubind_plugin.logs import Log
from gpubind_plugin.mps import readiness
from gpubind_plugin.mps.keeping import Keeping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpubind_plugin.config import Config

GPU = "nvidia.com/gpu"


def mps(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"sharing": {"mps": {"resources": [*resources]}}}


FOUR = mps({"name": GPU, "replicas": 4})


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, "t4", FOUR)


@pytest.fixture
def running(node: Node) -> subprocess.Popen[bytes]:
    process = node.start()
    until(node.ready)
    return process


@pytest.fixture(scope="module")
def unshare() -> str:
    """Give the program that makes user namespaces, where this machine allows them."""
    program = "/usr/bin/unshare"
    tried = subprocess.run([program, "-Urm", "/bin/true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this machine allows no user namespaces")
    return program


def uuids(lines: list[str]) -> list[str]:
    return [line.split()[2] for line in lines if line.startswith("smi")]


def test_a_daemon_is_started_told_and_stopped(node: Node, running: subprocess.Popen[bytes]) -> None:
    started = node.told_again()
    (uuid,) = uuids(started)
    assert started == [
        f"smi -i {uuid} -c EXCLUSIVE_PROCESS",
        "gpu -d CUDA_MPS_LOG_DIRECTORY CUDA_MPS_PIPE_DIRECTORY PWD ",  # the last is the shell's
        "gpu set_default_device_pinned_mem_limit 0 3840M",
        "gpu set_default_active_thread_percentage 25",
    ]
    assert sorted(os.listdir(node.mps / GPU)) == [".started", "log", "pipe"]
    until(lambda: "Starting control daemon for gpu" in node.log())
    assert end(running) == 0
    assert node.lines() == ["gpu quit", f"smi -i {uuid} -c DEFAULT"]
    assert sorted(os.listdir(node.mps / GPU)) == ["pipe"]
    assert not node.ready()


def test_a_new_configuration_begins_anew(node: Node, running: subprocess.Popen[bytes]) -> None:
    node.configure(mps({"name": GPU, "replicas": 2, "rename": "nvidia.com/half"}))
    node.told_again()
    running.send_signal(signal.SIGHUP)
    until(lambda: "half set_default_active_thread_percentage 50" in node.lines())
    assert node.lines()[0] == "gpu quit"
    until(node.ready)
    assert not (node.mps / GPU / ".started").exists()
    assert end(running) == 0


def test_a_wrong_configuration_leaves_the_old_one(
    node: Node, running: subprocess.Popen[bytes]
) -> None:
    node.configure(mps({"name": GPU, "replicas": 1}))
    node.told_again()
    running.send_signal(signal.SIGHUP)
    until(lambda: "gpu set_default_active_thread_percentage 25" in node.lines())
    assert "the old configuration holds" in node.log()
    assert end(running) == 0


def test_a_daemon_that_fails_to_start_gives_its_gpus_back(node: Node) -> None:
    (node.broken / "gpu").touch()
    process = node.start()
    until(lambda: any(line.endswith("-c DEFAULT") for line in node.lines()))
    until(lambda: "retrying in 30s" in node.log())
    assert "nvidia-cuda-mps-control -d ended with status 1: no memory" in node.log()
    assert (end(process), node.ready()) == (0, False)
    assert not (node.mps / GPU / ".started").exists()


def test_a_mark_that_was_left_is_taken_away(node: Node) -> None:
    (node.broken / "gpu").touch()
    (node.mps / ".ready").touch()
    process = node.start()
    until(lambda: not node.ready())
    assert end(process) == 0


def test_a_daemon_that_dies_is_started_anew(node: Node) -> None:
    log = io.StringIO()
    ended = threading.Event()

    def next_signal(seconds: float) -> int:
        return signal.SIGTERM if ended.wait(seconds) else 0

    keeping = Keeping(lambda: loaded(node), Log(stream=log), str(node.mps), turn_s=0.05)
    thread = threading.Thread(target=keeping.run, args=(next_signal,))
    thread.start()
    try:
        until(node.ready)
        node.told_again()
        (node.mps / GPU / "pipe/control").unlink()
        until(lambda: "gpu set_default_active_thread_percentage 25" in node.lines())
        until(node.ready)
    finally:
        ended.set()
        thread.join()
    assert "MPS daemon is gone" in log.getvalue()


def test_a_gpu_whose_mode_can_not_be_set_is_not_shared(node: Node) -> None:
    (node.broken / "smi").touch()
    process = node.start()
    until(lambda: "GPU is lost" in node.log())
    assert end(process) == 0
    assert not any(" -d " in line for line in node.lines())


def test_one_resources_daemon_that_fails_leaves_the_others(tmp_path: Path) -> None:
    first = {"name": GPU, "replicas": 2, "rename": "nvidia.com/bad", "devices": ["0"]}
    node = Node(tmp_path, "dgx-h100", mps(first, {"name": GPU, "replicas": 4}))
    (node.broken / "bad").touch()
    process = node.start()
    until(lambda: "MPS daemon runs resource=nvidia.com/gpu gpus=7" in node.log())
    assert (node.mps / GPU / ".started").exists()
    assert (end(process), node.ready()) == (0, False)


def test_without_shared_devices_it_waits(tmp_path: Path) -> None:
    node = Node(tmp_path, "t4", {})
    process = node.start()
    until(lambda: "no devices are configured for MPS sharing: waiting" in node.log())
    assert (end(process), node.lines()) == (0, [])


def test_too_many_replicas_are_said_and_nothing_is_started(tmp_path: Path) -> None:
    node = Node(tmp_path, "t4", mps({"name": GPU, "replicas": 49}))
    process = node.start()
    until(lambda: "maximum allowed replicas exceeded: 49 > 48" in node.log())
    assert (end(process), node.lines()) == (0, [])


def loaded(node: Node) -> Config:
    given = {"mps_root": "/run/mps"}
    return options.load(given, node.environment()).config


def test_a_resource_is_ready_when_its_daemon_answers(
    node: Node, running: subprocess.Popen[bytes]
) -> None:
    config = loaded(node)
    assert readiness.ready(config, GPU, str(node.mps)) == ""
    end(running)
    assert readiness.ready(config, GPU, str(node.mps)) == (
        "error checking MPS daemon health: nvidia-cuda-mps-control "
        "get_default_active_thread_percentage ended with status 1: "
        "Cannot find MPS control daemon process"
    )


def test_a_resource_that_is_not_shared_needs_no_daemon(node: Node) -> None:
    assert readiness.ready(loaded(node), "nvidia.com/other", str(node.mps)) == ""


def test_a_program_that_is_missing_is_named(node: Node) -> None:
    (node.root / "usr/bin/nvidia-cuda-mps-control").unlink()
    said = readiness.ready(loaded(node), GPU, str(node.mps))
    assert said.startswith("error checking MPS daemon health: nvidia-cuda-mps-control is neither")


def test_a_program_that_hangs_is_given_up(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    control = node.root / "usr/bin/nvidia-cuda-mps-control"
    control.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    monkeypatch.setattr("gpubind_plugin.mps.control.SHORT_S", 0.2)
    said = readiness.ready(loaded(node), GPU, str(node.mps))
    assert said.endswith("get_default_active_thread_percentage gave no answer within 0.2 s")


def test_the_shared_memory_is_mounted_anew(node: Node, unshare: str) -> None:
    shell = '"$@" && "$@" && grep " shm " /proc/self/mounts'.replace(" shm ", "/mps/shm ")
    words = [unshare, "-Urm", "/bin/sh", "-c", shell, "sh", *node.words("mount-shm")]
    done = subprocess.run(
        words, env=node.environment(), capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout.count("\n")) == ("", 1)
    name, place, kind, flags = done.stdout.split()[:4]
    assert (name, place, kind) == ("shm", f"{node.mps}/shm", "tmpfs")
    assert {"rw", "nosuid", "nodev", "noexec", "relatime"} <= set(flags.split(","))


def test_the_shared_memory_that_can_not_be_mounted_is_an_error(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    (node.mps / "shm").write_text("in the way")
    assert main.run(["mps-control-daemon", "--root", str(node.mps), "mount-shm"]) == 1
    assert capfd.readouterr().err.endswith(f"{node.mps}/shm: File exists [SYS-REFUSED]\n")


def test_nothing_is_written_outside_the_root(node: Node, running: subprocess.Popen[bytes]) -> None:
    assert end(running) == 0
    assert sorted(os.listdir(node.mps)) == ["nvidia.com"]
    assert not os.path.exists("/mps")
