# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests: a place per engine, the image, the host before and after."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest
from system import debian, host, images, newer, nodes, roots
from system.engines import containerd, docker, low_level, podman
from system.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAMS = {
    "runc": "/usr/sbin/runc",
    "crun": "/usr/bin/crun",
    "podman": "/usr/bin/podman",
    "docker": "/usr/sbin/dockerd",
    "containerd": "/usr/bin/containerd",
}


def needed(name: str) -> str:
    """Give an engine's program; a test without it fails rather than passing unnoticed."""
    if not os.path.exists(PROGRAMS[name]):
        pytest.fail(f"{PROGRAMS[name]} is missing: ./dev test --system installs it")
    return PROGRAMS[name]


@pytest.fixture(scope="session", autouse=True)
def untouched_host() -> Iterator[None]:
    """Fail the run when the engines left anything on the host."""
    if os.geteuid() != 0:
        pytest.fail("the system tests need uid 0: namespaces, mounts, device nodes")
    before = host.snapshot()
    yield
    if changed := host.changes(before, host.snapshot()):
        pytest.fail("the host changed while the system tests ran:\n" + "\n".join(changed))


@pytest.fixture(scope="session", autouse=True)
def usual_root(request: pytest.FixtureRequest) -> None:
    """Give all places the newer system where --newer asks for it."""
    if request.config.getoption("--newer"):
        Place.usual = newer.root()


@pytest.fixture(scope="session")
def minimal_root() -> str:
    """The containers' root file system; never to be written to."""
    return roots.minimal()


@pytest.fixture(scope="session")
def image(minimal_root: str) -> str:
    return images.archive(minimal_root)


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """A private place for runtimes that are driven by hand."""
    with Place() as made:
        yield made


@pytest.fixture(scope="session")
def newer_root() -> str:
    """A system with engines newer than the machine's."""
    try:
        return newer.root()
    except debian.UnavailableError as error:
        pytest.skip(f"no Debian sid: {error}")


@pytest.fixture(scope="session")
def newer_place(newer_root: str) -> Iterator[Place]:
    """A private place with the newer engines and their Python."""
    with Place(root=newer_root) as made:
        yield made


@pytest.fixture(scope="session")
def scratch() -> Iterator[str]:
    """A folder on the host's disk, seen from every place, gone after the run.

    Not below pytest's own folder, which lets no other user in: users of a container are others.
    """
    folder = tempfile.mkdtemp(prefix="gpubind-system-")
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def low_level_runtime(
    place: Place, minimal_root: str, scratch: str
) -> Callable[[str], low_level.LowLevel]:
    """Give the runtime with this program."""
    return lambda program: low_level.LowLevel(place, minimal_root, scratch, program)


@pytest.fixture(scope="session")
def node_named(scratch: str) -> Callable[[str], nodes.Node]:
    """Give the GPU node of a name, made at the first call, with its own installation of gpubind."""
    return functools.cache(lambda name: nodes.make(name, scratch))


@pytest.fixture(scope="session", params=nodes.NAMES)
def node(request: pytest.FixtureRequest, node_named: Callable[[str], nodes.Node]) -> nodes.Node:
    """Each node in turn."""
    try:
        return node_named(request.param)
    except debian.UnavailableError as error:
        pytest.skip(f"no driver root {request.param}: {error}")


@pytest.fixture(scope="session")
def simulated(node_named: Callable[[str], nodes.Node]) -> nodes.Node:
    """The simulated node with 8 GPUs."""
    return node_named("simulated")


@pytest.fixture(scope="session")
def podman_engine(image: str) -> Iterator[podman.Podman]:
    needed("podman")
    with Place() as made:
        yield podman.Podman(made, image)


@pytest.fixture(scope="session")
def newer_podman(newer_place: Place, image: str) -> podman.Podman:
    return podman.Podman(newer_place, image)


@pytest.fixture(scope="session")
def docker_engine(image: str, scratch: str) -> Iterator[docker.Docker]:
    needed("docker")
    with Place() as made:
        runtimes = {name: nodes.runtime(scratch, name) for name in nodes.NAMES}
        yield docker.Docker(made, image, scratch, runtimes)


@pytest.fixture(scope="session")
def containerd_engine(image: str, scratch: str) -> Iterator[containerd.Containerd]:
    needed("containerd")
    with Place() as made:
        yield containerd.Containerd(made, image, scratch)
