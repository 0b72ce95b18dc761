# SPDX-License-Identifier: Apache-2.0
"""containerd in a private place, driven by ctr."""

from __future__ import annotations

import itertools
import os
import shlex
import time
from typing import TYPE_CHECKING

from system import images

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

    from system.place import Place

FOLDER = "/run/containerd-tests"
SOCKET = f"{FOLDER}/containerd.sock"
CONFIG = f"""\
version = 2
root = "{FOLDER}/root"
state = "{FOLDER}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
oom_score = 0
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
path = "{FOLDER}/opt"
"""
RUNC = "/usr/sbin/runc"
COUNTER = itertools.count()


class Containerd:
    """A running containerd with the image.

    `config` is the file that it reads: one without CRI, where none of the place is named.
    """

    name = "containerd"

    def __init__(self, place: Place, archive: str, scratch: str, config: str = "") -> None:
        self.place = place
        self.config = config or f"{FOLDER}/config.toml"
        self.log = os.path.join(scratch, "containerd.log")
        place.run("mkdir", "-p", FOLDER)
        if not config:
            place.run("sh", "-c", f"printf %s {shlex.quote(CONFIG)} > {self.config}")
        self.start()
        self.call("images", "import", "--snapshotter=overlayfs", archive)

    def start(self) -> None:
        """Start the daemon, and wait until it answers."""
        self.daemon = self.place.start(
            "/usr/bin/containerd", f"--config={self.config}", log=self.log
        )
        deadline = time.monotonic() + 60
        while self.call("version", status=None).returncode:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8") as stream:
                    raise AssertionError(f"containerd does not answer:\n{stream.read()}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the daemon and wait for its end; the image stays."""
        self.place.stop(self.daemon)

    def socket_on_the_host(self) -> str:
        """Give its socket as processes outside the place reach it."""
        return f"/proc/{self.place.pid}/root{SOCKET}"

    def call(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a ctr command."""
        return self.place.run("/usr/bin/ctr", f"--address={SOCKET}", *words, status=status)

    def run(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        runtime: str = RUNC,
        status: int | None = 0,
        image: str = images.TAG,
    ) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        values = [f"--env={key}={value}" for key, value in (environment or {}).items()]
        name = f"container-{next(COUNTER)}"
        given = (
            "--rm",
            "--runtime=io.containerd.runc.v2",
            f"--runc-binary={runtime}",
            *values,
            *options,
        )
        return self.call("run", *given, image, name, *words, status=status)
