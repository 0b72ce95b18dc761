# SPDX-License-Identifier: Apache-2.0
"""The first process of a private place: makes its mounts, then waits until its input closes.

Started by `place.py` in new mount, PID, network, IPC and cgroup namespaces. When it ends, the
kernel kills every process of the place and takes its mounts away, whatever the engines do.

Words: the mount namespace of the host (to refuse to work in it), the folders shared with the host
(PATH:PATH), the root (/ for the host's), then the cgroup mounts to make, each as
FSTYPE:OPTIONS:PLACE.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

LAYERED = ("/etc", "/var/lib")


def mount(*words: str) -> None:
    subprocess.run(["/usr/bin/mount", *words], check=True)


def reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def layer(path: str) -> None:
    """Lay a folder in memory over this one."""
    upper, work = (f"/run/layers{path}/{kind}" for kind in ("upper", "work"))
    os.makedirs(upper)
    os.makedirs(work)
    layers = f"lowerdir={path},upperdir={upper},workdir={work}"
    mount("-t", "overlay", "-o", layers, "place", path)


def private_files(shared: list[str], root: str) -> None:
    """Give the place its own /run and /dev/shm, and layers over /etc and /var/lib to write to."""
    mount("-t", "tmpfs", "-o", "mode=755", "place", "/run")
    mount("-t", "tmpfs", "-o", "mode=1777", "place", "/dev/shm")
    kept = {path: os.open(path, os.O_PATH) for path in shared if path.startswith(LAYERED)}
    for name in ("home", "lock", "cdi", "layers"):
        os.mkdir(f"/run/{name}")
    if root == "/":
        for path in LAYERED:
            layer(path)
        for path, descriptor in kept.items():
            mount("--bind", f"/proc/{os.getpid()}/fd/{descriptor}", path)
    else:
        enter(root, shared)
    os.makedirs("/etc/cdi", exist_ok=True)


def enter(root: str, shared: list[str]) -> None:
    """Make another system the root, with a layer over it."""
    kept = dict.fromkeys(("/proc", "/sys", "/dev", "/run"), "--rbind")
    kept |= dict.fromkeys(shared, "--bind")
    descriptors = [os.open(path, os.O_PATH) for path in kept]
    layer(root)
    for (path, how), descriptor in zip(kept.items(), descriptors, strict=True):
        os.makedirs(f"{root}{path}", exist_ok=True)
        mount(how, f"/proc/{os.getpid()}/fd/{descriptor}", f"{root}{path}")
    subprocess.run(["/usr/sbin/pivot_root", root, f"{root}/mnt"], check=True)
    os.chdir("/")
    subprocess.run(["/usr/bin/umount", "--recursive", "--lazy", "/mnt"], check=True)


def private_cgroups(mounts: list[str]) -> None:
    """Show the place's own cgroups as if they were the machine's."""
    subprocess.run(["/usr/bin/umount", "--recursive", "--lazy", "/sys/fs/cgroup"], check=True)
    if len(mounts) > 1:
        mount("-t", "tmpfs", "-o", "mode=755", "place", "/sys/fs/cgroup")
    for entry in mounts:
        fstype, options, where = entry.split(":")
        os.makedirs(where, exist_ok=True)
        mount("-t", fstype, *(["-o", options] if options else []), "place", where)
    # A cgroup2 folder with processes cannot hand controllers to its children.
    if os.path.exists("/sys/fs/cgroup/cgroup.procs"):
        os.mkdir("/sys/fs/cgroup/init")
        with open("/sys/fs/cgroup/init/cgroup.procs", "w") as stream:
            stream.write("0")


def main(host: str, shared: str, root: str, *mounts: str) -> int:
    if os.readlink("/proc/self/ns/mnt") == host or os.getpid() != 1:
        sys.stderr.write("not in a place of its own: refusing to mount anything\n")
        return 1
    private_cgroups(list(mounts))
    private_files(shared.split(":"), root)
    signal.signal(signal.SIGCHLD, reap)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while os.read(0, 1):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
