# SPDX-License-Identifier: Apache-2.0
"""Containers that live on: updated, restarted, committed and started again on another node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from system.engines.docker import Docker
    from system.engines.podman import Podman
    from system.nodes import Node

pytestmark = pytest.mark.system

LOOK = "probe open /dev/nvidia0 /dev/nvidiactl; ldconfig -p | grep -F 'libcuda.so.1 '"


def found(node: Node) -> str:
    allowed = "/dev/nvidia0: allowed\n/dev/nvidiactl: allowed\n"
    return f"{allowed}\tlibcuda.so.1 (libc6,x86-64) => {node.libcuda}\n"


@pytest.fixture
def living(simulated: Node, docker_engine: Docker) -> Iterator[str]:
    """A docker container with GPU 0 that waits; gives its name."""
    options = ["--network=none", f"--runtime={simulated.name}", "--env=NVIDIA_VISIBLE_DEVICES=0"]
    words = ["run", "--detach", "--name=living", *options, images.TAG, "sleep", "1000"]
    docker_engine.call(*words)
    yield "living"
    docker_engine.call("rm", "--force", "living")


def test_an_update_of_its_limits_keeps_the_gpu(
    living: str, simulated: Node, docker_engine: Docker
) -> None:
    docker_engine.call("update", "--cpu-shares=512", living)
    assert docker_engine.call("exec", living, "sh", "-c", LOOK).stdout == found(simulated)


def test_a_restart_keeps_the_gpu(living: str, simulated: Node, docker_engine: Docker) -> None:
    docker_engine.call("restart", "--time=0", living)
    assert docker_engine.call("exec", living, "sh", "-c", LOOK).stdout == found(simulated)


def test_a_committed_image_finds_the_driver_of_the_next_node(
    living: str, node_named: Callable[[str], Node], docker_engine: Docker
) -> None:
    docker_engine.call("commit", living, "gpubind.test/committed")
    other = node_named("debian-550")
    options = [
        "--rm",
        "--network=none",
        f"--runtime={other.name}",
        "--env=NVIDIA_VISIBLE_DEVICES=0",
    ]
    done = docker_engine.call("run", *options, "gpubind.test/committed", "sh", "-c", LOOK)
    assert done.stdout == found(other)


def test_a_committed_image_without_a_gpu_finds_none(living: str, docker_engine: Docker) -> None:
    docker_engine.call("commit", living, "gpubind.test/committed")
    script = "ls /dev | grep -c nvidia; LD_PRELOAD=libcuda.so.1 cat /dev/null"
    words = ["run", "--rm", "--network=none", "gpubind.test/committed", "sh", "-c", script]
    done = docker_engine.call(*words)
    assert done.stdout == "0\n"
    assert "cannot be preloaded" in done.stderr


def test_podman_with_crun(simulated: Node, podman_engine: Podman) -> None:
    podman_engine.place.run("cp", simulated.spec, "/etc/cdi/nvidia.yaml")
    options = ["--device=nvidia.com/gpu=0"]
    runtime = "/usr/bin/crun"
    done = podman_engine.run("sh", "-c", LOOK, options=options, runtime=runtime)
    assert done.stdout == found(simulated)
