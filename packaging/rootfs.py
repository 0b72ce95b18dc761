# SPDX-License-Identifier: Apache-2.0
"""A small root file system from the host's own files, and an OCI bundle around it.

Programs are copied with the libraries they load, at their places, and the library cache is written
as a distribution's image has it. Nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LINKED = ("bin", "lib", "lib32", "lib64", "sbin")
FOLDERS = ("dev", "etc", "proc", "run", "sys", "tmp", "usr", "var/run")
FILES = ("/etc/ld.so.conf", "/etc/os-release")
LOADED = re.compile(r"(/\S+) \(0x")
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_MKNOD"]
READ_ONLY = ["nosuid", "noexec", "nodev", "ro"]
MOUNTS: tuple[tuple[str, str, str, list[str]], ...] = (
    ("/proc", "proc", "proc", []),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
    ("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", READ_ONLY),
)


def loaded(program: str) -> Iterator[str]:
    """Give the libraries a program of the host loads, the loader among them."""
    words = ["/usr/bin/ldd", program]
    listed = subprocess.run(words, check=False, capture_output=True, text=True)
    for line in listed.stdout.splitlines():
        if found := LOADED.search(line):
            yield found[1]


def build(root: str, programs: Sequence[str]) -> None:
    """Lay out `root` with these programs of the host; FileNotFoundError for an absent one."""
    for name in FOLDERS:
        os.makedirs(os.path.join(root, name), exist_ok=True)
    for name in LINKED:
        if os.path.islink(f"/{name}"):
            os.makedirs(os.path.join(root, "usr", name), exist_ok=True)
            os.symlink(f"usr/{name}", os.path.join(root, name))
    for program in programs:
        for path in (program, *loaded(program)):
            _copy(path, root)
    for path in (*FILES, *_configured()):
        if os.path.isfile(path):
            _copy(path, root)
    with open(os.path.join(root, "etc/passwd"), "w", encoding="ascii") as file:
        file.write("root:x:0:0:root:/:/bin/sh\n")
    subprocess.run(["/sbin/ldconfig", "-r", root], check=False, capture_output=True)


def _configured() -> list[str]:
    folder = "/etc/ld.so.conf.d"
    return [f"{folder}/{name}" for name in os.listdir(folder)] if os.path.isdir(folder) else []


def _copy(path: str, root: str) -> None:
    folder = os.path.realpath(os.path.dirname(path))
    target = os.path.join(root, folder.lstrip("/"), os.path.basename(path))
    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(path, target)


def mounts() -> list[dict[str, object]]:
    """Give the mounts that every engine gives a container."""
    return [
        {"destination": place, "type": kind, "source": source, "options": options}
        for place, source, kind, options in MOUNTS
    ]


def config(words: Sequence[str], env: Sequence[str], cgroup: str) -> dict[str, object]:
    """Give an OCI spec for `words` in the bundle's `rootfs`, as an engine writes it."""
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    capabilities = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(words),
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", *env],
            "cwd": "/",
            "capabilities": capabilities,
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "gpubind",
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": ["/proc/kcore", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/sys"],
        },
    }


def write(bundle: str, spec: dict[str, object]) -> None:
    """Write a bundle's config.json."""
    with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
        json.dump(spec, file, indent=2)
