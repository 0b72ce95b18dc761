# SPDX-License-Identifier: Apache-2.0
"""podman in a private place: own storage, own configuration, no network, cgroups by itself."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from system import images

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

    from system.place import Place

RUNC = "/usr/sbin/runc"
CONTAINERS_CONF = """\
[containers]
default_sysctls = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "/run/podman/tmp"
"""
STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "/run/podman/root"
runroot = "/run/podman/run"
"""
ENVIRONMENT = {
    "CONTAINERS_CONF": "/run/podman/containers.conf",
    "CONTAINERS_STORAGE_CONF": "/run/podman/storage.conf",
    "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
}
# Without CAP_SYS_RESOURCE podman's own, higher limits could not be set.
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", "--pids-limit=-1")
OPTIONS = ("--rm", "--network=none", "--cap-add=MKNOD", *LIMITS)


class Podman:
    """podman with an imported image."""

    name = "podman"

    def __init__(self, place: Place, archive: str) -> None:
        self.place = place
        place.run("mkdir", "-p", "/run/podman")
        for name, text in (("containers", CONTAINERS_CONF), ("storage", STORAGE_CONF)):
            place.run("sh", "-c", f"printf %s {shlex.quote(text)} > /run/podman/{name}.conf")
        self.call("load", "--quiet", "--input", archive)

    def call(
        self, *words: str, status: int | None = 0, runtime: str = RUNC
    ) -> subprocess.CompletedProcess[str]:
        """Run a podman command; `runtime` is the low-level runtime's program."""
        options = (f"--runtime={runtime}", "--log-level=warn")
        return self.place.run(
            "/usr/bin/podman", *options, *words, environment=ENVIRONMENT, status=status
        )

    def run(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        status: int | None = 0,
        runtime: str = RUNC,
    ) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        values = [f"--env={key}={value}" for key, value in (environment or {}).items()]
        given = (*OPTIONS, *values, *options, images.TAG, *words)
        return self.call("run", *given, status=status, runtime=runtime)

    def run_rootfs(
        self, root: str, *words: str, options: Sequence[str] = (), status: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a container on this root file system, which it may change, to its end."""
        return self.call("run", *OPTIONS, *options, "--rootfs", root, *words, status=status)
