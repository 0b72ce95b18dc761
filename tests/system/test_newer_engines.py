# SPDX-License-Identifier: Apache-2.0
"""The main job on newer engines, and with a newer Python under shim and hooks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from system.engines.containerd import Containerd
from system.engines.docker import Docker
from system.engines.low_level import LowLevel
from system.engines.podman import Podman
from system.place import ENVIRONMENT, Place
from system.test_gpus import GPU_0, SCRIPT, seen, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.nodes import Node

pytestmark = pytest.mark.system

DEVICE = ["--device=nvidia.com/gpu=0"]
OPENS = ("probe", "open", "/dev/nvidia0", "/dev/nvidia1")
OPENED = ["/dev/nvidia0: allowed", "/dev/nvidia1: ENOENT"]


@pytest.fixture(scope="module")
def place(newer_place: Place, simulated: Node) -> Place:
    newer_place.run("cp", simulated.spec, "/etc/cdi/nvidia.yaml")
    return newer_place


@pytest.fixture(scope="module")
def looking(simulated: Node) -> dict[str, str]:
    """What SCRIPT wants to know."""
    return {"LIBCUDA": simulated.libcuda}


@pytest.fixture(scope="module")
def podman(place: Place, newer_podman: Podman) -> Podman:
    assert newer_podman.place is place
    return newer_podman


@pytest.fixture(scope="module")
def docker(place: Place, image: str, scratch: str, simulated: Node) -> Iterator[Docker]:
    folder = os.path.join(scratch, "newer-docker")
    os.mkdir(folder)
    hook = f"{simulated.prefix}/bin/gpubind-runtime-hook"
    os.symlink(hook, f"{folder}/nvidia-container-runtime-hook")
    path = {"PATH": f"{folder}:{ENVIRONMENT['PATH']}"}
    engine = Docker(place, image, folder, {"shim": simulated.runtime}, path)
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def containerd(place: Place, image: str, scratch: str) -> Iterator[Containerd]:
    folder = os.path.join(scratch, "newer-containerd")
    os.mkdir(folder)
    engine = Containerd(place, image, folder)
    yield engine
    engine.stop()


def test_shim_and_hooks_run_with_a_python_newer_than_the_machine_s(place: Place) -> None:
    words = ("/usr/bin/python3", "-IS", "-c", "import sys; print(sys.version_info[:2] >= (3, 13))")
    assert place.run(*words).stdout == "True\n"


def test_runc_through_the_shim(
    place: Place, minimal_root: str, scratch: str, simulated: Node, looking: dict[str, str]
) -> None:
    runtime = LowLevel(place, minimal_root, scratch, simulated.runtime)
    done = runtime.run("sh", "-c", SCRIPT, environment=GPU_0 | looking)
    assert seen(done) == wanted(simulated)


def test_podman_with_a_cdi_device(podman: Podman, simulated: Node, looking: dict[str, str]) -> None:
    done = podman.run("sh", "-c", SCRIPT, environment=looking, options=DEVICE)
    assert seen(done) == wanted(simulated)


def test_podman_with_the_shim_as_its_runtime(
    podman: Podman, simulated: Node, looking: dict[str, str]
) -> None:
    environment = GPU_0 | looking
    done = podman.run("sh", "-c", SCRIPT, environment=environment, runtime=simulated.runtime)
    assert seen(done) == wanted(simulated)


def test_docker_with_a_cdi_device(docker: Docker, simulated: Node, looking: dict[str, str]) -> None:
    done = docker.run("sh", "-c", SCRIPT, environment=looking, options=DEVICE)
    assert seen(done) == wanted(simulated)


def test_docker_with_the_shim_as_a_runtime(
    docker: Docker, simulated: Node, looking: dict[str, str]
) -> None:
    environment = GPU_0 | looking
    done = docker.run("sh", "-c", SCRIPT, environment=environment, options=["--runtime=shim"])
    assert seen(done) == wanted(simulated)


def test_docker_with_gpus(docker: Docker, simulated: Node, looking: dict[str, str]) -> None:
    """docker before 29.2 calls the prestart hook, later ones inject by CDI."""
    done = docker.run("sh", "-c", SCRIPT, environment=looking, options=["--gpus=device=0"])
    assert seen(done) == wanted(simulated)


def test_docker_leaves_a_plain_container_alone(docker: Docker) -> None:
    assert seen(docker.run("probe", "open", "/dev/nvidia0")) == ["/dev/nvidia0: ENOENT"]


def test_containerd_with_a_cdi_device(
    containerd: Containerd, simulated: Node, looking: dict[str, str]
) -> None:
    done = containerd.run("sh", "-c", SCRIPT, environment=looking, options=DEVICE)
    assert seen(done) == wanted(simulated)


def test_containerd_with_the_shim_as_runc(
    containerd: Containerd, simulated: Node, looking: dict[str, str]
) -> None:
    environment = GPU_0 | looking
    done = containerd.run("sh", "-c", SCRIPT, environment=environment, runtime=simulated.runtime)
    assert seen(done) == wanted(simulated)


def test_podman_with_crun_and_cgroup_version_2(
    newer_root: str, image: str, simulated: Node, scratch: str
) -> None:
    program = os.path.join(scratch, "newer-crun")
    with open(program, "w", encoding="utf-8") as stream:
        stream.write('#!/bin/sh\nexec /usr/bin/crun --cgroup-manager=disabled "$@"\n')
    os.chmod(program, 0o755)
    with Place("unified", newer_root) as made:
        made.run("cp", simulated.spec, "/etc/cdi/nvidia.yaml")
        done = Podman(made, image).run(*OPENS, options=DEVICE, runtime=program)
    assert seen(done) == OPENED
