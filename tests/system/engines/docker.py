# SPDX-License-Identifier: Apache-2.0
"""dockerd in a private place: own state, own containerd, no bridge, no packet filter rules."""

from __future__ import annotations

import json
import os
import shlex
import time
from typing import TYPE_CHECKING

from system import images

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

    from system.place import Place

SOCKET = "unix:///run/docker-tests/docker.sock"
DAEMON = (
    "/usr/sbin/dockerd",
    "--config-file=/run/docker-tests/daemon.json",
    "--data-root=/run/docker-tests/data",
    "--exec-root=/run/docker-tests/exec",
    "--pidfile=/run/docker-tests/docker.pid",
    f"--host={SOCKET}",
    "--storage-driver=overlay2",
    "--exec-opt=native.cgroupdriver=cgroupfs",
    *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
    "--oom-score-adjust=0",
)


class Docker:
    """A running dockerd with the image; `runtimes` besides runc: name to program.

    `environment` is the daemon's, beside the usual; it looks for its hook on PATH when it starts.
    """

    name = "docker"

    def __init__(
        self,
        place: Place,
        archive: str,
        scratch: str,
        runtimes: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.place = place
        self.log = os.path.join(scratch, "dockerd.log")
        settings = {"runtimes": {key: {"path": path} for key, path in (runtimes or {}).items()}}
        place.run("mkdir", "-p", "/run/docker-tests")
        text = shlex.quote(json.dumps(settings))
        place.run("sh", "-c", f"printf %s {text} > /run/docker-tests/daemon.json")
        self.daemon = place.start(*DAEMON, log=self.log, environment=environment)
        self._wait()
        self.call("load", "--quiet", "--input", archive)

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while self.call("version", status=None).returncode:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8") as stream:
                    raise AssertionError(f"dockerd does not answer:\n{stream.read()}")
            time.sleep(0.2)

    def call(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a docker command; Debian's client, whatever else is on PATH."""
        return self.place.run("/usr/bin/docker", f"--host={SOCKET}", *words, status=status)

    def run(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        status: int | None = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        values = [f"--env={key}={value}" for key, value in (environment or {}).items()]
        given = ("--rm", "--network=none", *values, *options)
        return self.call("run", *given, images.TAG, *words, status=status)
