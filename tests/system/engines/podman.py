# SPDX-License-Identifier: Apache-2.0
"""podman in a private place: own storage, own configuration, no network, cgroups by itself."""

from __future__ import annotations

import os
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
CONFIG = "/run/podman/containers.conf"
ENVIRONMENT = {
    "CONTAINERS_STORAGE_CONF": "/run/podman/storage.conf",
    "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
}
# Without CAP_SYS_RESOURCE podman's own, higher limits could not be set.
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", "--pids-limit=-1")
OPTIONS = ("--rm", "--network=none", "--cap-add=MKNOD", *LIMITS)


class Podman:
    """podman with an imported image.

    It reads a file of its own, or, with another `config`, the usual ones, of which this is one.
    """

    name = "podman"

    def __init__(self, place: Place, archive: str, config: str = CONFIG) -> None:
        self.place = place
        only = {"CONTAINERS_CONF": CONFIG} if config == CONFIG else {}
        self.environment = ENVIRONMENT | only
        place.run("mkdir", "-p", "/run/podman", os.path.dirname(config))
        files = {config: CONTAINERS_CONF, ENVIRONMENT["CONTAINERS_STORAGE_CONF"]: STORAGE_CONF}
        for path, text in files.items():
            place.run("sh", "-c", f"printf %s {shlex.quote(text)} > {path}")
        self.call("load", "--quiet", "--input", archive)

    def call(
        self, *words: str, status: int | None = 0, runtime: str = RUNC
    ) -> subprocess.CompletedProcess[str]:
        """Run a podman command; `runtime` is the low-level runtime's program or configured name.

        Where it is "", podman takes its default.
        """
        options = ["--log-level=warn", *([f"--runtime={runtime}"] if runtime else [])]
        return self.place.run(
            "/usr/bin/podman", *options, *words, environment=self.environment, status=status
        )

    def run(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        status: int | None = 0,
        image: str = images.TAG,
        runtime: str = RUNC,
    ) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        values = [f"--env={key}={value}" for key, value in (environment or {}).items()]
        given = (*OPTIONS, *values, *options, image, *words)
        return self.call("run", *given, status=status, runtime=runtime)

    def run_rootfs(
        self, root: str, *words: str, options: Sequence[str] = (), status: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a container on this root file system, which it may change, to its end."""
        return self.call("run", *OPTIONS, *options, "--rootfs", root, *words, status=status)
