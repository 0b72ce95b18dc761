# SPDX-License-Identifier: Apache-2.0
"""A low-level runtime driven by hand: runc, crun, or the shim in front of one."""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from system.place import Place

RUNC = "/usr/sbin/runc"
CAPABILITIES = [
    "CAP_MKNOD",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_CHOWN",
    "CAP_FOWNER",
    "CAP_SYS_CHROOT",
]
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
MOUNTS = (
    ("/proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
)
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "cwd": "/",
        "noNewPrivileges": True,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
    },
    "root": {"path": "rootfs"},
    "hostname": "container",
    "mounts": [
        {"destination": place, "type": fstype, "source": fstype, "options": options}
        for place, fstype, options in MOUNTS
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in NAMESPACES],
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "access": "m"},
                {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            ]
        },
    },
}
COUNTER = itertools.count()


class LowLevel:
    """One runtime in a place; `program` is what is called, such as /usr/sbin/runc."""

    name = "runc"

    def __init__(self, place: Place, root: str, scratch: str, program: str = RUNC) -> None:
        self.place = place
        self.root = root
        self.scratch = scratch
        self.program = program

    def bundle(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        change: Callable[[dict[str, Any]], None] | None = None,
        prepare: str = "",
    ) -> str:
        """Make a bundle with a throw-away layer over the root; gives its folder.

        `change` edits config.json before it is written, `prepare` is a shell script that is run in
        the root.
        """
        folder = os.path.join(self.scratch, f"bundle-{next(COUNTER)}")
        config = copy.deepcopy(CONFIG)
        values = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment}
        config["process"] |= {"args": list(words), "env": [f"{k}={v}" for k, v in values.items()]}
        config["linux"]["cgroupsPath"] = f"/{os.path.basename(folder)}"
        if change:
            change(config)
        rootfs = os.path.join(folder, "rootfs")
        os.makedirs(rootfs)
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as stream:
            json.dump(config, stream)
        upper, work = (
            f"/run/layers/{os.path.basename(folder)}/{kind}" for kind in ("upper", "work")
        )
        self.place.run("mkdir", "-p", upper, work)
        layers = f"lowerdir={self.root},upperdir={upper},workdir={work}"
        self.place.run("mount", "-t", "overlay", "-o", layers, "layers", rootfs)
        if prepare:
            self.place.run("sh", "-c", f'cd "$1" && {prepare}', "sh", rootfs)
        return folder

    def run(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        change: Callable[[dict[str, Any]], None] | None = None,
        prepare: str = "",
        status: int | None = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Create, start, wait for and delete a container that runs these words."""
        folder = self.bundle(words, environment or {}, change, prepare)
        return self.run_bundle(folder, status=status)

    def run_bundle(self, folder: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Take a bundle through create, start, state and delete; gives the container's output."""
        name = os.path.basename(folder)
        call = (self.program, "--root", "/run/runc-tests")
        pidfile = os.path.join(folder, "pid")
        create = (*call, "create", "--bundle", folder, "--pid-file", pidfile, name)
        out, err = (os.path.join(folder, kind) for kind in ("out", "err"))
        redirected = (
            "/bin/sh",
            "-c",
            'exec >"$1" 2>"$2"; shift 2; exec "$@"',
            "sh",
            out,
            err,
            *create,
        )
        created = self.place.run(*redirected, status=None)
        if created.returncode == 0:
            try:
                self.place.run(*call, "start", name)
                self._wait(call, name)
            finally:
                self.place.run(*call, "delete", "--force", name)
        self.place.run("umount", os.path.join(folder, "rootfs"))
        done = subprocess.CompletedProcess(create, created.returncode, _read(out), _read(err))
        if status is not None and done.returncode != status:
            raise AssertionError(f"{create}\nended with {done.returncode}: {done.stderr}")
        return done

    def _wait(self, call: Sequence[str], name: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            state = json.loads(self.place.run(*call, "state", name).stdout)
            if state["status"] == "stopped":
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} did not end within 30 s")


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
