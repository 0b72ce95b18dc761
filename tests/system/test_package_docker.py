# SPDX-License-Identifier: Apache-2.0
"""A host with Debian's docker, set up for the field's toolkit: used with ours, then left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system import packaged
from system.engines.docker import FOLDER, Docker
from system.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

DAEMON = "/etc/docker/daemon.json"
BEFORE = '{\n  "debug": false\n}\n'
PREPARED = f"""
mkdir -p /etc/nvidia-container-runtime /etc/cdi /etc/docker
printf '[nvidia-container-cli]\\nroot = "/opt/node"\\n' >/etc/nvidia-container-runtime/config.toml
printf '%s' '{BEFORE}' >{DAEMON}
ln -s {FOLDER}/docker.sock /run/docker.sock
gpubind simulate --profile t4 --root /opt/node
nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml
nvidia-ctk runtime configure --runtime=docker
"""


@pytest.fixture
def docker(scratch: str, image: str) -> Iterator[Docker]:
    """A running dockerd that has read what nvidia-ctk wrote."""
    with Place(root=packaged.root_with_engines("bookworm")) as place:
        debs = packaged.built(f"{scratch}/debs-for-docker")
        place.run("/usr/bin/dpkg", "-i", *debs, timeout=300)
        place.run("sh", "-ec", PREPARED)
        yield Docker(place, image, scratch, config=DAEMON)


def remove(docker: Docker, status: int | None) -> str:
    """Remove the packages and give what dpkg says of it."""
    words = ("/usr/bin/dpkg", "-r", *packaged.NAMES)
    return docker.place.run(*words, status=status, timeout=300).stderr


def test_containers_get_gpus_and_removal_waits_for_the_daemon(docker: Docker) -> None:
    asks = {"NVIDIA_VISIBLE_DEVICES": "0"}
    shown = docker.run("ls", "/dev/nvidia0", environment=asks, options=["--runtime=nvidia"])
    assert shown.stdout == "/dev/nvidia0\n"
    assert docker.run("ls", "/dev/nvidia0", options=["--gpus=all"]).stdout == "/dev/nvidia0\n"
    assert f"{DAEMON} names it" in remove(docker, None)
    docker.place.run("gpubind", "runtime", "unconfigure", "--runtime=docker")
    assert docker.place.run("cat", DAEMON).stdout == BEFORE
    assert "dockerd has it loaded as runtime 'nvidia': restart docker" in remove(docker, None)
    shown = docker.run("ls", "/dev/nvidia0", environment=asks, options=["--runtime=nvidia"])
    assert shown.stdout == "/dev/nvidia0\n"
    docker.stop()
    docker.start()
    assert "[PKG-IN-USE]" not in remove(docker, 0)
    assert docker.run("echo", "started").stdout == "started\n"


def test_a_container_that_runs_keeps_what_ends_it(docker: Docker) -> None:
    name = ("--name=long", "--detach", "--runtime=nvidia")
    docker.run("sleep", "1000", options=name)
    docker.place.run("gpubind", "runtime", "unconfigure", "--runtime=docker")
    told = remove(docker, None)
    assert "restart docker" in told
    assert "was started by it: end that container" in told
    docker.call("rm", "--force", "long")
    assert "end that container" not in remove(docker, None)
