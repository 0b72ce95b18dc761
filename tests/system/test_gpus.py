# SPDX-License-Identifier: Apache-2.0
"""The main job on real engines: a container asks for GPU 0, and looks around from the inside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from system.engines.containerd import Containerd
    from system.engines.docker import Docker
    from system.engines.low_level import LowLevel
    from system.engines.podman import Podman
    from system.nodes import Node

pytestmark = pytest.mark.system

# What is there, what is allowed, what a made node of another GPU does, where the loader finds the
# driver: at first sight, and after the container ran ldconfig by itself.
SCRIPT = """\
ls /dev | grep '^nvidia[0-9c]'
probe open /dev/nvidia0 /dev/nvidia1 /dev/nvidiactl /dev/nvidia-uvm
probe make /tmp/other 195 1
ldconfig -p | grep -F 'libcuda.so.1 '
stat --dereference --format=%s "$LIBCUDA"
LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=libcuda.so.1 cat | grep -o 'libcuda.so.1 => [^ ]*'
ldconfig
ldconfig -p | grep -F 'libcuda.so.1 '
"""
GPU_0 = {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}


def seen(done: subprocess.CompletedProcess[str]) -> list[str]:
    return done.stdout.splitlines()


def wanted(node: Node) -> list[str]:
    size = os.stat(os.path.join(node.root, os.path.relpath(node.libcuda, "/"))).st_size
    found = f"\tlibcuda.so.1 (libc6,x86-64) => {node.libcuda}"
    return [
        "nvidia0",
        "nvidiactl",
        "/dev/nvidia0: allowed",
        "/dev/nvidia1: ENOENT",
        "/dev/nvidiactl: allowed",
        "/dev/nvidia-uvm: allowed",
        "/tmp/other: EPERM",
        found,
        str(size),
        f"libcuda.so.1 => {node.libcuda}",
        found,
    ]


def test_runc_through_the_shim(node: Node, low_level_runtime: Callable[[str], LowLevel]) -> None:
    runtime = low_level_runtime(node.runtime)
    environment = {**GPU_0, "LIBCUDA": node.libcuda}
    assert seen(runtime.run("sh", "-c", SCRIPT, environment=environment)) == wanted(node)


def test_podman_with_a_cdi_device(node: Node, podman_engine: Podman) -> None:
    podman_engine.place.run("cp", node.spec, "/etc/cdi/nvidia.yaml")
    options = ["--device=nvidia.com/gpu=0"]
    environment = {"LIBCUDA": node.libcuda}
    done = podman_engine.run("sh", "-c", SCRIPT, environment=environment, options=options)
    assert seen(done) == wanted(node)


def test_docker_with_the_shim_as_a_runtime(node: Node, docker_engine: Docker) -> None:
    options = [f"--runtime={node.name}"]
    environment = {**GPU_0, "LIBCUDA": node.libcuda}
    done = docker_engine.run("sh", "-c", SCRIPT, environment=environment, options=options)
    assert seen(done) == wanted(node)


def test_containerd_with_the_shim_as_runc(node: Node, containerd_engine: Containerd) -> None:
    environment = {**GPU_0, "LIBCUDA": node.libcuda}
    done = containerd_engine.run("sh", "-c", SCRIPT, environment=environment, runtime=node.runtime)
    assert seen(done) == wanted(node)
