# SPDX-License-Identifier: Apache-2.0
"""Engines newer than the machine's: a Debian sid to be the root of a place (see `Place`).

Its packages are unpacked, not set up; nothing of it runs outside a place.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from system import debian, roots

PACKAGES = (
    *("docker.io", "docker-cli", "containerd", "podman", "conmon", "runc", "crun"),
    *("python3", "dash", "coreutils", "libc-bin", "mount", "util-linux"),
    *("base-files", "base-passwd", "findutils", "grep", "sed", "strace", "uidmap"),
)


def root() -> str:
    """Give the cached folder of the root, never to be written to."""
    with open(__file__, "rb") as recipe:
        key = repr((debian.archive_lines("sid", ["main"]), recipe.read()))
    return debian.cached("newer", key, _build)


def _build(root: str) -> None:
    debian.strap(root, PACKAGES, "sid")
    for name in (*roots.NOT_NEEDED, "usr/lib/cni", "usr/lib/systemd"):
        shutil.rmtree(os.path.join(root, name), ignore_errors=True)
    for name in ("dev", "proc", "sys", "mnt", "run", "root"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    for name in ("passwd", "group"):
        shutil.copy(f"{root}/usr/share/base-passwd/{name}.master", f"{root}/etc/{name}")
    with open(f"{root}/etc/hosts", "w", encoding="ascii") as hosts:
        hosts.write("127.0.0.1 localhost\n")
    subprocess.run(["/usr/sbin/chroot", root, "/sbin/ldconfig"], check=True)
