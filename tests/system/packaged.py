# SPDX-License-Identifier: Apache-2.0
"""Hosts that packages are installed on: a Debian with Python, set up, and no GPU, systemd, network.

And the packages themselves, built once in a run for each version.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import checkout
from system import debian

if TYPE_CHECKING:
    from system.place import Place

PACKAGES = (
    *("python3", "python3-click", "python3-yaml", "python3-jsonschema", "python3-tomlkit"),
    *("python3-grpcio", "python3-protobuf", "python3-prometheus-client"),
    *("runc", "mount", "util-linux"),
)
ENGINES = ("docker.io", "docker-cli", "containerd", "podman", "conmon", "crun")
TESTED_BY = ("python3-pytest", "python3-hypothesis", "python3-pyelftools")
OWN = (
    "/run/layers",
    "/run/runc-tests",
    "/var/lib/dpkg",
    "/var/log",
    "/var/cache",
    "/proc",
    "/sys",
    "/dev",
)
LEFT_OUT = ("(", *" -o ".join(f"-path {path}" for path in OWN).split(), ")", "-prune", "-o")
PRINTED = r"%p\t%y %m %U %G %l %{size}\n".replace("%{size}", "%s %T@")
NAMES = ("gpubind-runtime", "gpubind", "gpubind-kubernetes", "gpubind-nvidia-compat")


def root(release: str) -> str:
    """Give the cached folder of the host's root, never to be written to."""
    return _cached(f"packaged-{release}", release, PACKAGES)


def root_with_engines(release: str) -> str:
    """Give the cached folder of a host's root that has the release's container engines."""
    # Debian 12's client comes with its daemon.
    engines = (name for name in ENGINES if (release, name) != ("bookworm", "docker-cli"))
    return _cached(f"engines-{release}", release, (*PACKAGES, *engines))


def root_with_pytest(release: str) -> str:
    """Give the cached folder of a root that has what the tests of Python code are run by."""
    return _cached(f"pytest-{release}", release, (*PACKAGES, *TESTED_BY))


def _cached(name: str, release: str, packages: tuple[str, ...]) -> str:
    lines = debian.archive_lines(release, ["main"])

    def build(folder: str) -> None:
        hooks = ("--mode=root", "--variant=essential", f"--include={','.join(packages)}")
        relaxed = ['--aptopt={} "{}"'.format(*one.split("=")) for one in debian.relaxed()]
        words = ["/usr/bin/mmdebstrap", *hooks, *relaxed, release, folder, *lines.splitlines()]
        env = debian.APT_ENVIRONMENT | {"TMPDIR": os.path.dirname(folder)}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
        if done.returncode:
            raise debian.UnavailableError(done.stderr.strip()[-500:])

    return debian.cached(name, repr((lines, packages)), build)


def built(folder: str, version: str = "", only: str = "deb") -> list[str]:
    """Build the packages of a form into a folder; gives their files in the order of NAMES."""
    program = os.path.join(checkout.ROOT, "packaging/package.py")
    words = ["--output", folder, "--only", only, *(["--version", version] if version else [])]
    done = subprocess.run(
        [sys.executable, program, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def files(place: Place) -> dict[str, str]:
    """Give every file of a place's root and its /run by name, and what tells its content.

    What dpkg and its helpers write for themselves is left out.
    """
    told = place.run("find", "/", "/run", "-xdev", *LEFT_OUT, "-printf", PRINTED).stdout
    return dict(line.split("\t", 1) for line in told.splitlines())
