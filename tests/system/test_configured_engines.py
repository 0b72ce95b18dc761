# SPDX-License-Identifier: Apache-2.0
"""Real engines set up by `gpubind runtime configure`, started, used, and given back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from system.engines.docker import Docker
from system.engines.podman import Podman
from system.place import Place
from system.test_gpus import GPU_0, SCRIPT, seen, wanted

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from system.nodes import Node

pytestmark = pytest.mark.system

DAEMON_JSON = "/etc/docker/daemon.json"
CONTAINERS_CONF = "/etc/containers/containers.conf"
# An operator's file, in his own layout.
OPERATORS = """\
{ "log-opts": {"max-size" : "10m"},
\t"shutdown-timeout": 5 }
"""
PLAIN = ("probe", "open", "/dev/nvidia0")
NOTHING = ["/dev/nvidia0: ENOENT"]


def gpubind(place: Place, node: Node, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the node's `gpubind runtime` in a place, as its operator would."""
    state = "--state-dir=/var/lib/gpubind/engines"
    return place.run(f"{node.prefix}/bin/gpubind", "runtime", *words, state)


def text(place: Place, path: str) -> str:
    return place.run("cat", path).stdout


def write(place: Place, path: str, content: str) -> None:
    place.run("sh", "-c", 'mkdir -p "${2%/*}" && printf %s "$1" >"$2"', "sh", content, path)


@pytest.fixture(params=["/", "newer"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place with the machine's engines, then one with the newer ones."""
    root = request.getfixturevalue("newer_root") if request.param == "newer" else "/"
    with Place(root=root) as made:
        yield made


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where daemons log."""
    return str(tmp_path_factory.mktemp("log"))


@pytest.fixture
def configure(simulated: Node) -> tuple[str, ...]:
    """The command that is tested, but for the engine."""
    return ("configure", f"--nvidia-runtime-path={simulated.runtime}")


@contextlib.contextmanager
def docker_of(place: Place, image: str, folder: str, config: str) -> Iterator[Docker]:
    """Give a dockerd that reads the operator's file."""
    write(place, DAEMON_JSON, config)
    engine = Docker(place, image, folder, config=DAEMON_JSON)
    yield engine
    engine.stop()


def restarted(docker: Docker) -> None:
    docker.stop()
    docker.start()


def test_docker_gives_gpus_once_configured_and_is_as_before_when_given_back(
    place: Place, image: str, simulated: Node, folder: str, configure: tuple[str, ...]
) -> None:
    environment = GPU_0 | {"LIBCUDA": simulated.libcuda}
    look = ("sh", "-c", SCRIPT)
    with docker_of(place, image, folder, OPERATORS) as docker:
        gpubind(place, simulated, *configure, "--runtime=docker")
        restarted(docker)
        done = docker.run(*look, environment=environment, options=["--runtime=nvidia"])
        assert seen(done) == wanted(simulated)
        assert seen(docker.run(*PLAIN, environment=GPU_0)) == NOTHING

        gpubind(place, simulated, *configure, "--runtime=docker", "--set-as-default")
        restarted(docker)
        assert seen(docker.run(*look, environment=environment)) == wanted(simulated)
        assert seen(docker.run(*PLAIN)) == NOTHING

        gpubind(place, simulated, "unconfigure", "--runtime=docker")
        assert text(place, DAEMON_JSON) == OPERATORS
        restarted(docker)
        assert seen(docker.run(*PLAIN, environment=GPU_0)) == NOTHING
        refused = docker.run(*PLAIN, options=["--runtime=nvidia"], status=125)
        assert "nknown" in refused.stderr


def test_docker_has_the_runtime_after_a_signal(
    place: Place, image: str, simulated: Node, folder: str, configure: tuple[str, ...]
) -> None:
    environment = GPU_0 | {"LIBCUDA": simulated.libcuda}
    with docker_of(place, image, folder, OPERATORS) as docker:
        gpubind(place, simulated, *configure, "--runtime=docker", "--restart=signal")
        options = ["--runtime=nvidia"]
        done = docker.run("sh", "-c", SCRIPT, environment=environment, options=options)
        assert seen(done) == wanted(simulated)


def test_docker_takes_cdi_devices_once_cdi_is_turned_on(
    newer_root: str, image: str, simulated: Node, folder: str, configure: tuple[str, ...]
) -> None:
    off = '{"features": {"cdi": false, "containerd-snapshotter": false}}\n'
    environment = {"LIBCUDA": simulated.libcuda}
    device = ["--device=nvidia.com/gpu=0"]
    with Place(root=newer_root) as place, docker_of(place, image, folder, off) as docker:
        place.run("cp", simulated.spec, "/etc/cdi/nvidia.yaml")
        docker.run(*PLAIN, options=device, status=125)
        gpubind(place, simulated, *configure, "--runtime=docker", "--cdi.enabled")
        restarted(docker)
        done = docker.run("sh", "-c", SCRIPT, environment=environment, options=device)
        assert seen(done) == wanted(simulated)
        gpubind(place, simulated, "unconfigure", "--runtime=docker")
        assert text(place, DAEMON_JSON) == off
        restarted(docker)
        docker.run(*PLAIN, options=device, status=125)


def test_podman_gives_gpus_once_configured_and_is_as_before_when_given_back(
    place: Place, image: str, simulated: Node, configure: tuple[str, ...]
) -> None:
    environment = GPU_0 | {"LIBCUDA": simulated.libcuda}
    look = ("sh", "-c", SCRIPT)
    podman = Podman(place, image, CONTAINERS_CONF)
    before = place.run("grep", "-rl", ".", "/etc/containers").stdout
    place.run("sed", "-i", 's|^.engine.$|&\\nruntime = "runc"|', CONTAINERS_CONF)
    operators = text(place, CONTAINERS_CONF)

    gpubind(place, simulated, *configure, "--runtime=podman")
    done = podman.run(*look, environment=environment, runtime="nvidia")
    assert seen(done) == wanted(simulated)
    assert seen(podman.run(*PLAIN, environment=GPU_0, runtime="")) == NOTHING

    gpubind(place, simulated, *configure, "--runtime=podman", "--set-as-default")
    assert seen(podman.run(*look, environment=environment, runtime="")) == wanted(simulated)
    assert seen(podman.run(*PLAIN, runtime="")) == NOTHING

    gpubind(place, simulated, "unconfigure", "--runtime=podman")
    assert text(place, CONTAINERS_CONF) == operators
    assert place.run("grep", "-rl", ".", "/etc/containers").stdout == before
    assert seen(podman.run(*PLAIN, environment=GPU_0, runtime="")) == NOTHING
    assert podman.run(*PLAIN, runtime="nvidia", status=None).returncode != 0
