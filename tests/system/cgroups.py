# SPDX-License-Identifier: Apache-2.0
"""Cgroups that a private place owns: made under the test process's own, removed afterwards.

Knows three layouts: version 1, version 1 with an extra version 2 hierarchy, version 2 alone.
"""

from __future__ import annotations

import dataclasses
import os
import time


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """One mounted cgroup hierarchy and this process's folder in it."""

    fstype: str
    options: str
    where: str
    folder: str


def hierarchies() -> list[Hierarchy]:
    """List what is mounted under /sys/fs/cgroup, later mounts over earlier ones."""
    own = _own_cgroups()
    found: dict[str, Hierarchy] = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        for line in stream:
            before, after = line.rstrip("\n").split(" - ")
            fstype, _, super_options = after.split(" ", 2)
            root, where = before.split(" ")[3:5]
            if fstype not in ("cgroup", "cgroup2") or not where.startswith("/sys/fs/cgroup"):
                continue
            options = "" if fstype == "cgroup2" else _controllers(super_options)
            inner = os.path.relpath(own[options.removeprefix("none,")], root)
            folder = os.path.normpath(os.path.join(where, inner))
            found[where] = Hierarchy(fstype=fstype, options=options, where=where, folder=folder)
    return list(found.values())


def _own_cgroups() -> dict[str, str]:
    with open("/proc/self/cgroup", encoding="utf-8") as stream:
        rows = [line.rstrip("\n").split(":", 2) for line in stream]
    return {controllers: path for _, controllers, path in rows}


def _controllers(super_options: str) -> str:
    """Give the mount options that name the hierarchy again: controllers, or none and a name."""
    flags = {"rw", "ro", "xattr", "clone_children", "noprefix"}
    named = [option for option in super_options.split(",") if option not in flags]
    named = [option for option in named if not option.startswith("release_agent=")]
    return ",".join(["none", *named] if named[0].startswith("name=") else named)


def make(name: str) -> list[str]:
    """Make a folder of this name in every hierarchy; gives the folders."""
    folders = []
    for hierarchy in hierarchies():
        folder = os.path.join(hierarchy.folder, name)
        os.mkdir(folder)
        folders.append(folder)
        for key in ("cpuset.cpus", "cpuset.mems"):
            if hierarchy.options and os.path.exists(os.path.join(folder, key)):
                _copy(os.path.join(hierarchy.folder, key), os.path.join(folder, key))
    return folders


def _copy(source: str, target: str) -> None:
    with open(source, encoding="ascii") as stream:
        value = stream.read()
    with open(target, "w", encoding="ascii") as stream:
        stream.write(value)


def remove(folders: list[str], seconds: float = 10) -> list[str]:
    """Remove these folders with everything below; gives those that would not go in time."""
    deadline = time.monotonic() + seconds
    left = [folder for folder in folders if not _removed(folder)]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [folder for folder in left if not _removed(folder)]
    return left


def _removed(folder: str) -> bool:
    try:
        for path, _, _ in os.walk(folder, topdown=False):
            os.rmdir(path)
    except OSError:
        return False
    return not os.path.exists(folder)


def remove_stale(prefix: str) -> None:
    """Remove what a killed run left behind: PREFIX-PID-… of a process that is gone."""
    for hierarchy in hierarchies():
        for name in os.listdir(hierarchy.folder):
            words = name.removeprefix(f"{prefix}-").split("-")
            if name.startswith(f"{prefix}-") and not os.path.exists(f"/proc/{words[0]}"):
                _removed(os.path.join(hierarchy.folder, name))
