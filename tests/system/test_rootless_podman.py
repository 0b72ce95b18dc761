# SPDX-License-Identifier: Apache-2.0
"""podman as an ordinary user's command, with ids from newuidmap: by the shim, and by CDI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from system import images, users

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from system.nodes import Node
    from system.place import Place

pytestmark = pytest.mark.system

CONTAINERS_CONF = """\
[containers]
default_sysctls = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", "--pids-limit=-1")


class Podman:
    """podman as an ordinary user's command in a place."""

    def __init__(self, place: Place, image: str) -> None:
        self.place = place
        config = f"{users.HOME}/containers.conf"
        self.environment = {**users.ENVIRONMENT, "CONTAINERS_CONF": config}
        place.run("sh", "-c", f"cat >{config} <<'END'\n{CONTAINERS_CONF}END\n")
        found = self.call("unshare", "cat", "/proc/self/uid_map", status=None)
        if found.returncode or str(users.SUBORDINATE) not in found.stdout:
            pytest.skip(f"rootless podman gets no ids from newuidmap here: {found.stderr}")
        own = f"{users.HOME}/image.tar"  # the user may not get to where the checkout is
        place.run("install", "-m", "644", image, own)
        self.call("load", "--quiet", "--input", own)
        plain = ("run", "--rm", "--network=none", *LIMITS, images.TAG, "true")
        if (
            "pids.max: no such file"
            in self.call("--runtime=/usr/sbin/runc", *plain, status=None).stderr
        ):
            pytest.skip("runc wants the pids controller, which this machine has in version 1 alone")

    def call(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = (*users.AS_USER, "/usr/bin/podman", *words)
        return self.place.run(*command, environment=self.environment, status=status, timeout=120)

    def run(self, runtime: str, *options: str) -> subprocess.CompletedProcess[str]:
        run = ("run", "--rm", "--network=none", *LIMITS, *options)
        return self.call(f"--runtime={runtime}", *run, images.TAG, "sh", "-c", users.SCRIPT)


@pytest.fixture(scope="module", params=["machine", "unified"])
def podman(
    request: pytest.FixtureRequest, scratch: str, simulated: Node, image: str
) -> Iterator[Podman]:
    assert simulated.prefix.startswith(scratch)
    with users.place(request.param, scratch) as made:
        yield Podman(made, image)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="by-the-shim-alone"),
        pytest.param(("--tmpfs=/etc/ld.so.conf.d:notmpcopyup",), id="with-the-hook"),
    ],
)
def test_rootless_podman_with_the_shim(
    podman: Podman, simulated: Node, options: tuple[str, ...]
) -> None:
    given = [f"--env={key}={value}" for key, value in users.GPU_0.items()]
    done = podman.run(simulated.runtime, *given, *options)
    assert users.seen(done) == users.wanted(simulated, users.UID)


# podman 4.3 takes a node of a CDI spec from where it shall be, whatever its hostPath says: so the
# place gets the simulated nodes in a /dev of its own, a layer over the machine's.
OWN_DEV = """set -e
cd /run/layers
mkdir -p upper work machine
mount --rbind /dev machine
mount -t overlay -o lowerdir=/dev,upperdir=upper,workdir=work dev /dev
mount --bind machine/pts /dev/pts
mount --bind machine/shm /dev/shm
cp -a "$NODES"/. /dev/
cp "$SPEC" /etc/cdi/nvidia.yaml
"""


@pytest.mark.parametrize("layout", ["machine", "unified"])
def test_rootless_podman_with_a_cdi_device(
    layout: str, simulated: Node, image: str, scratch: str
) -> None:
    with users.place(layout, scratch) as place:
        given = {"NODES": f"{simulated.root}/dev", "SPEC": simulated.spec}
        place.run("sh", "-c", OWN_DEV, environment=given)
        done = Podman(place, image).run("/usr/sbin/runc", "--device=nvidia.com/gpu=0")
        assert users.seen(done) == users.wanted(simulated, users.UID)
