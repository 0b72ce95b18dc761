# SPDX-License-Identifier: Apache-2.0
"""Every command line of docs/{docker,podman,containerd}.md, in the page's order, on engines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import checkout
import pytest
from system import debian, dropin, images, matrix, packaged
from system.engines import containerd, docker, podman

if TYPE_CHECKING:
    from pathlib import Path

    from system.dropin import Host

pytestmark = pytest.mark.system

IMAGE = "docker.io/library/debian:latest"
# What makes the commands reach the engines of a place, and find its driver.
ENVIRONMENT = {
    "DOCKER_HOST": docker.SOCKET,
    "CONTAINERD_ADDRESS": containerd.SOCKET,
    "NVIDIA_CTK_DRIVER_ROOT": dropin.NODE,
    **podman.ENVIRONMENT,
}
# A place has no network, and not the capability to raise limits.
OPTIONS = {"docker": "--network=none", "podman": " ".join(podman.OPTIONS), "containerd": ""}
NEEDS = {
    "docker": re.compile(r"cdi\.enabled|--device"),
    "podman": re.compile(r"--gpus"),
    "containerd": re.compile(r"cdi\.enabled|--device"),
}
"""What the older release's engine has not got."""


def commands(engine: str, release: str) -> list[str]:
    """Give the lines of an engine's page, as the release's engine takes them."""
    page = checkout.text(checkout.ROOT, f"docs/{engine}.md")
    lines = [line.strip() for line in page.splitlines() if line.startswith("    ")]
    if release != "bookworm":
        return lines
    lines = [line.replace(" --cdi.enabled", "", 1) for line in lines]
    return [line for line in lines if not NEEDS[engine].search(line.partition("#")[0])]


def act(host: Host, engine: str, line: str) -> None:
    """Do what a line says; its end other than with 0 fails the test."""
    if line.startswith("systemctl restart "):
        daemon = host.docker if engine == "docker" else host.containerd
        daemon.stop()
        daemon.start()
        return
    line = line.replace(" run --rm", f" run --rm {OPTIONS[engine]}")
    host.place.run("sh", "-c", line, environment=ENVIRONMENT)


@pytest.fixture(scope="module")
def packages(scratch: str) -> list[str]:
    return packaged.built(f"{scratch}/task-pages")


@pytest.mark.parametrize("release", matrix.RELEASES)
@pytest.mark.parametrize("engine", NEEDS)
def test_each_line_of_a_page_works(
    engine: str, release: str, packages: list[str], tmp_path: Path
) -> None:
    try:
        made = dropin.Host(release, packages, str(tmp_path), ready=False)
    except debian.UnavailableError as error:
        pytest.skip(f"no Debian {release}: {error}")
    lines = commands(engine, release)
    assert any(" run --rm" in line for line in lines)
    with made as host:
        tag = ("images", "tag") if engine == "containerd" else ("tag",)
        getattr(host, engine).call(*tag, images.TAG, IMAGE)
        for line in lines:
            act(host, engine, line)
