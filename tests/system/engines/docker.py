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

FOLDER = "/run/docker-tests"
SOCKET = f"unix://{FOLDER}/docker.sock"
CONFIG = f"{FOLDER}/daemon.json"
DAEMON = (
    "/usr/sbin/dockerd",
    f"--data-root={FOLDER}/data",
    f"--exec-root={FOLDER}/exec",
    f"--pidfile={FOLDER}/docker.pid",
    f"--host={SOCKET}",
    "--storage-driver=overlay2",
    "--exec-opt=native.cgroupdriver=cgroupfs",
    *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
)


class Docker:
    """A running dockerd with the image; `runtimes` besides runc: name to program.

    `environment` is the daemon's, beside the usual; it looks for its hook on PATH when it starts.
    `config` is the file that it reads: one with the runtimes, where none of the place is named.
    """

    name = "docker"

    def __init__(
        self,
        place: Place,
        archive: str,
        scratch: str,
        runtimes: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        config: str = CONFIG,
    ) -> None:
        self.place, self.config, self.environment = place, config, environment
        self.log = os.path.join(scratch, "dockerd.log")
        self.version = place.run("/usr/bin/docker", "--version").stdout.split()[2].split("+")[0]
        place.run("mkdir", "-p", FOLDER)
        if config == CONFIG:
            settings = {"runtimes": {key: {"path": path} for key, path in (runtimes or {}).items()}}
            text = shlex.quote(json.dumps(settings))
            place.run("sh", "-c", f"printf %s {text} > {CONFIG}")
        self.start()
        self.call("load", "--quiet", "--input", archive)

    def start(self) -> None:
        """Start the daemon, and wait until it answers."""
        # By default docker before 25 sets another score, which takes a capability.
        before_25 = int(self.version.split(".")[0]) < 25
        options = ["--oom-score-adjust=0"] if before_25 else []
        words = (*DAEMON, f"--config-file={self.config}", *options)
        self.daemon = self.place.start(*words, log=self.log, environment=self.environment)
        deadline = time.monotonic() + 60
        while self.call("version", status=None).returncode:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8") as stream:
                    raise AssertionError(f"dockerd does not answer:\n{stream.read()}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the daemon and wait for its end; the image stays."""
        self.place.stop(self.daemon)

    def call(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a docker command; Debian's client, whatever else is on PATH."""
        return self.place.run("/usr/bin/docker", f"--host={SOCKET}", *words, status=status)

    def run(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        status: int | None = 0,
        image: str = images.TAG,
    ) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        values = [f"--env={key}={value}" for key, value in (environment or {}).items()]
        given = ("--rm", "--network=none", *values, *options)
        return self.call("run", *given, image, *words, status=status)
