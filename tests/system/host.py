# SPDX-License-Identifier: Apache-2.0
"""The host where engines leave traces: taken before and after, both must be equal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from system import cgroups
from system.place import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

WATCHED = (
    "/dev/null",
    "/etc/docker",
    "/etc/containerd",
    "/etc/containers",
    "/etc/cdi",
    "/etc/crio",
    "/etc/gpubind",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf.d",
    "/etc/nvidia-container-runtime",
    "/opt/containerd",
    "/root/.docker",
    "/root/.local/share/containers",
    "/run/cdi",
    "/run/containerd",
    "/run/containers",
    "/run/crun",
    "/run/docker",
    "/run/docker.sock",
    "/run/gpubind",
    "/run/libpod",
    "/run/podman",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/gpubind",
)
ENGINES = ("docker", "containerd", "podman", "libpod", "conmon", f"{PREFIX}-{os.getpid()}-")
# Where other programs come and go, only what engines name counts.
SHARED = ("/run", "/dev/shm", "/dev")


def snapshot() -> frozenset[str]:
    """Describe the host: mounts, engines' files, listening sockets, cgroups, interfaces."""
    lines = [*_mounts(), *_files(), *_sockets(), *_cgroups()]
    lines += [f"network interface {name}" for name in os.listdir("/sys/class/net")]
    return frozenset(lines)


def changes(before: frozenset[str], after: frozenset[str]) -> list[str]:
    """List what came and what went, one line each."""
    return [
        *(f"came: {line}" for line in sorted(after - before)),
        *(f"went: {line}" for line in sorted(before - after)),
    ]


def _mounts() -> Iterator[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        for line in stream:
            yield f"mount {line.rstrip()}"


def _files() -> Iterator[str]:
    for place in WATCHED:
        for folder, folders, files in os.walk(place):
            yield f"folder {folder}"
            yield from (_file(os.path.join(folder, name)) for name in [*folders, *files])
        if os.path.lexists(place) and not os.path.isdir(place):
            yield _file(place)
    for place in SHARED:
        named = [n for n in os.listdir(place) if any(engine in n for engine in ENGINES)]
        yield from (f"file {place}/{name}" for name in named)


def _file(path: str) -> str:
    status = os.lstat(path)
    changed = 0 if path == "/dev/null" else status.st_mtime_ns  # anybody may write to that
    owner = f"{status.st_uid}:{status.st_gid}"
    return f"file {path} {status.st_mode:o} {owner} {status.st_size} {changed}"


def _sockets() -> Iterator[str]:
    with open("/proc/net/unix", encoding="utf-8") as stream:
        for line in stream:
            words = line.split()
            if words[3] == "00010000" and any(engine in words[-1] for engine in ENGINES):
                yield f"listening unix socket {words[-1]}"
    for table in ("tcp", "tcp6"):
        if os.path.exists(f"/proc/net/{table}"):
            with open(f"/proc/net/{table}", encoding="ascii") as stream:
                rows = [line.split() for line in stream][1:]
            yield from (
                f"listening {table} {row[1]}" for row in rows if row[3] == "0A" and row[7] == "0"
            )


def _cgroups() -> Iterator[str]:
    for hierarchy in cgroups.hierarchies():
        for folder in {hierarchy.where, hierarchy.folder}:
            yield from (
                f"cgroup {folder}/{name}"
                for name in os.listdir(folder)
                if any(engine in name for engine in ENGINES)
            )
