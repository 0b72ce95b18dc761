# SPDX-License-Identifier: Apache-2.0
"""A node with container engines on which our packages take the place of NVIDIA's toolkit.

All that is done to set it up is done by the toolkit's names.
"""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Self

from system import cri, images, kinds, packaged, roots
from system.engines import containerd, docker, podman
from system.place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

NODE = "/opt/node"
DAEMON_JSON = "/etc/docker/daemon.json"
CONTAINERS_CONF = "/etc/containers/containers.conf"
CONFIG_TOML = "/etc/containerd/config.toml"
DOCKER = '{"features": {"containerd-snapshotter": false}}\n'
CRI = 'disabled_plugins = ["io.containerd.grpc.v1.cri"]'
# CRI as it can run in a place: no network, no capability for OOM scores.
CONTAINERD = f"""\
{containerd.CONFIG.replace(CRI, "")}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}:latest"
  restrict_oom_score_adj = true
  disable_apparmor = true
"""


class Host:
    """A place with a release of Debian, its engines, 8 simulated GPUs and our packages."""

    def __init__(
        self,
        release: str,
        packages: Sequence[str],
        folder: str,
        *,
        layout: str = "machine",
        ready: bool = True,
    ) -> None:
        """Start it; the daemons, which start when they are asked for, log below `folder`.

        `layout` is that of the cgroups, see Place. Where it is not `ready`, there is no spec, and
        no engine is set up. `files` are the operator's, by path, until their daemon is started.
        """
        self.folder = os.path.join(folder, f"{release}-{layout}")
        self.release, self.ready = release, ready
        self.files = {DAEMON_JSON: DOCKER, CONFIG_TOML: CONTAINERD}
        self.place = Place(layout, packaged.root_with_engines(release))
        try:
            self.place.run("/usr/bin/dpkg", "-i", *packages, timeout=300)
            self.place.run("gpubind", "simulate", "--profile=dgx-h100", f"--root={NODE}")
            if ready:
                spec = "--output=/etc/cdi/nvidia.yaml"
                self.place.run("nvidia-ctk", "cdi", "generate", f"--driver-root={NODE}", spec)
        except BaseException:
            self.place.close()
            raise
        self.archives = kinds.archives(roots.minimal())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("docker", "containerd"):
            if name in self.__dict__:
                getattr(self, name).stop()
        self.place.close()

    def version(self, engine: str) -> str:
        """Give an engine's version, as Debian counts it, without Debian's own parts."""
        package = "docker.io" if engine == "docker" else engine
        told = self.place.run("dpkg-query", "--show", "--showformat=${Version}", package).stdout
        return re.split(r"[+~-]", told)[0]

    def log(self, name: str) -> str:
        """Make a folder for the logs of an engine."""
        folder = os.path.join(self.folder, name)
        os.makedirs(folder)
        return folder

    def configure(self, engine: str) -> None:
        """Set an engine up as its operator does."""
        if self.ready:
            self.place.run("nvidia-ctk", "runtime", "configure", f"--runtime={engine}")

    def write(self, path: str, text: str) -> None:
        """Write a file of the operator's."""
        script = 'mkdir -p "${2%/*}" && printf %s "$1" >"$2"'
        self.place.run("sh", "-c", script, "sh", text, path)

    @functools.cached_property
    def docker(self) -> docker.Docker:
        """Give docker with a runtime of the name nvidia, which is not the default."""
        self.write(DAEMON_JSON, self.files[DAEMON_JSON])
        self.configure("docker")
        first, *others = self.archives.values()
        made = docker.Docker(self.place, first, self.log("docker"), config=DAEMON_JSON)
        for archive in others:
            made.call("load", "--quiet", "--input", archive)
        return made

    @functools.cached_property
    def podman(self) -> podman.Podman:
        """Give podman with a runtime of the name nvidia, which is not the default."""
        first, *others = self.archives.values()
        made = podman.Podman(self.place, first, CONTAINERS_CONF)
        self.configure("podman")
        for archive in others:
            made.call("load", "--quiet", "--input", archive)
        return made

    @functools.cached_property
    def containerd(self) -> containerd.Containerd:
        """Give containerd with CRI and a runtime handler of the name nvidia."""
        self.write(CONFIG_TOML, self.files[CONFIG_TOML])
        self.configure("containerd")
        first, *_ = self.archives.values()
        log = self.log("containerd")
        made = containerd.Containerd(self.place, first, log, CONFIG_TOML)
        for archive in (*self.archives.values(), images.pause(roots.minimal())):
            for namespace in ("default", "k8s.io"):
                made.call(f"--namespace={namespace}", "images", "import", archive)
        return made

    @functools.cached_property
    def cri(self) -> cri.Cri:
        """Give a kubelet's view of containerd."""
        return cri.Cri(self.containerd, os.path.dirname(self.containerd.log))
