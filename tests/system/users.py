# SPDX-License-Identifier: Apache-2.0
"""A place with an ordinary user who has subordinate ids, and roots that belong to somebody else."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from system import roots

if TYPE_CHECKING:
    from system.nodes import Node
    from system.place import Place

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
mkdir -p /run/kept "$HOME" "$XDG_RUNTIME_DIR"
mount --bind "$SCRATCH" /run/kept
mount -t tmpfs -o mode=755 place /tmp
mkdir -p "$SCRATCH"
mount --bind /run/kept "$SCRATCH"
chown -R "$ID:$ID" "$HOME" "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
echo "gpuuser:x:$ID:$ID::$HOME:/bin/sh" >>/etc/passwd
echo "gpuuser:x:$ID:" >>/etc/group
echo "gpuuser:$SUBORDINATE:65536" | tee /etc/subuid >/etc/subgid
"""


def prepare(place: Place, scratch: str) -> None:
    """Make the user in a place; `scratch` is where installations and bundles are."""
    numbers = {"ID": str(UID), "SUBORDINATE": str(SUBORDINATE), "SCRATCH": scratch}
    place.run("sh", "-c", PREPARE, environment={**ENVIRONMENT, **numbers})


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
