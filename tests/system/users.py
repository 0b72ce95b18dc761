# SPDX-License-Identifier: Apache-2.0
"""A place with an ordinary user who has subordinate ids, and roots that belong to somebody else."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from system import debian, roots
from system.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.nodes import Node

UID = 12345
SUBORDINATE = 200000
HOME = "/run/user-home"
RUNTIME_DIR = f"/run/user/{UID}"
AS_USER = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--")
IN_USERNS = ("unshare", "--user", "--map-root-user", "--")
ENVIRONMENT = {"HOME": HOME, "XDG_RUNTIME_DIR": RUNTIME_DIR, "USER": "gpuuser"}

# A user trusts what is root's alone. /tmp is not, and the installation under test lies there: so
# the place gets a /tmp that only root can write to, with the same files in it.
PREPARE = """set -e
mkdir -p /run/kept /run/cached "$HOME" "$XDG_RUNTIME_DIR"
mount --bind "$SCRATCH" /run/kept
mount --bind "$CACHED" /run/cached
mount -t tmpfs -o mode=755 place /tmp
mkdir -p "$SCRATCH" "$CACHED"
mount --bind /run/kept "$SCRATCH"
mount --bind /run/cached "$CACHED"
chown -R "$ID:$ID" "$HOME" "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
echo "gpuuser:x:$ID:$ID::$HOME:/bin/sh" >>/etc/passwd
echo "gpuuser:x:$ID:" >>/etc/group
echo "gpuuser:$SUBORDINATE:65536" | tee /etc/subuid >/etc/subgid
"""

GPU_0 = {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
# What a container with GPU 0 sees: who it is, its nodes, what the loader finds, who owns new files.
SCRIPT = """\
read -r inside outside count </proc/self/uid_map; echo "$inside $outside"
probe open /dev/nvidia0 /dev/nvidia1 /dev/nvidiactl /dev/nvidia-uvm
probe make /tmp/other 195 1
ldconfig -p | grep -F 'libcuda.so.1 '
stat -c '%u %n' /etc/ld.so.cache /etc/ld.so.conf.d/00-gpubind.conf
"""


def prepare(place: Place, scratch: str) -> None:
    """Make the user in a place; `scratch` is where installations and bundles are."""
    cached = os.path.realpath(debian.CACHE)
    os.makedirs(cached, exist_ok=True)
    numbers = {"ID": str(UID), "SUBORDINATE": str(SUBORDINATE)}
    folders = {"SCRATCH": scratch, "CACHED": cached}
    place.run("sh", "-c", PREPARE, environment={**ENVIRONMENT, **numbers, **folders})


@contextlib.contextmanager
def place(layout: str, scratch: str) -> Iterator[Place]:
    """Give a place with the user; a test of a machine that gives him no namespace is skipped."""
    with Place(layout) as made:
        prepare(made, scratch)
        if why := refusal(made):
            pytest.skip(f"this machine gives users no user namespace: {why}")
        yield made


def refusal(place: Place) -> str:
    """Give why a user can't have a user namespace here, "" where he can."""
    return place.run(*AS_USER, *IN_USERNS, "true", status=None).stderr.strip()


def owned(minimal: str, scratch: str, uid: int) -> str:
    """Give a copy of a root that belongs to one user, made once."""
    folder = os.path.join(scratch, f"root-{uid}")
    if not os.path.exists(folder):
        roots.copy(minimal, folder)
        subprocess.run(["/usr/bin/chown", "-hR", f"{uid}:{uid}", folder], check=True)
    return folder


def with_settings(node: Node, scratch: str, name: str, changes: dict[str, str]) -> str:
    """Give a program that is the node's shim with words of its config.toml replaced."""
    with open(f"{node.prefix}/etc/gpubind/config.toml", encoding="utf-8") as file:
        text = file.read()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    config, program = os.path.join(scratch, f"{name}.toml"), os.path.join(scratch, name)
    with open(config, "w", encoding="utf-8") as file:
        file.write(text)
    with open(program, "w", encoding="utf-8") as file:
        named = f"NVIDIA_CTK_CONFIG_FILE_PATH={config}"
        file.write(f'#!/bin/sh\n{named} exec {node.runtime} "$@"\n')
    os.chmod(program, 0o755)
    return program


def seen(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Give the lines a container wrote."""
    return done.stdout.splitlines()


def wanted(node: Node, first: int) -> list[str]:
    """Give what SCRIPT shall write where the container's root is user `first` outside."""
    return [
        f"0 {first}",
        "/dev/nvidia0: allowed",
        "/dev/nvidia1: ENOENT",
        "/dev/nvidiactl: allowed",
        "/dev/nvidia-uvm: allowed",
        "/tmp/other: not made, EPERM",
        f"\tlibcuda.so.1 (libc6,x86-64) => {node.libcuda}",
        "0 /etc/ld.so.cache",
        "0 /etc/ld.so.conf.d/00-gpubind.conf",
    ]
