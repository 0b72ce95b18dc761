# SPDX-License-Identifier: Apache-2.0
"""A private place: namespaces of its own in which engines run, unseen by the host.

The place has its own mounts (/run, /dev/shm, layers over /etc and /var/lib), processes, network,
IPC and cgroups. Closing it kills every process in it; its files lived in memory and go with it. The
host keeps nothing but what tests wrote into their own temporary folders.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Self

from system import cgroups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX = "gpubind-tests"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/run/home", "LC_ALL": "C.UTF-8"}
# Joins the place's cgroups first: nsenter alone would leave the process in the host's.
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; exec "$@"'
COUNTER = itertools.count()


def _shared() -> list[str]:
    """List the host's folders that a place shares: the checkout and the temporary one."""
    checkout = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
    return [checkout, os.path.realpath(tempfile.gettempdir())]


def _child(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    """Give the one child of unshare or nsenter, which wait for what they started."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as stream:
        return int(stream.read())


class Place:
    """A running private place; use as a context manager."""

    usual = "/"

    def __init__(self, layout: str = "machine", root: str = "") -> None:
        """Start the place; layout "unified" shows cgroup version 2 alone, "machine" all.

        `root` is a folder with another system, which the place sees with a layer over it in memory;
        / is the machine's, "" the `usual` one.
        """
        cgroups.remove_stale(PREFIX)
        self.daemons: list[subprocess.Popen[bytes]] = []
        mounted = cgroups.hierarchies()
        self.folders = cgroups.make(f"{PREFIX}-{os.getpid()}-{next(COUNTER)}")
        shown = [f"{one.fstype}:{one.options}:{one.where}" for one in mounted]
        if layout == "unified":
            shown = ["cgroup2::/sys/fs/cgroup"]
        self.init = self._started(root or self.usual, shown)
        # Where version 2 is all that is shown, processes live in a folder of it, see place_init.
        leaf = "init" if shown[0].endswith(":/sys/fs/cgroup") else ""
        self.joined = [
            os.path.join(folder, leaf if one.fstype == "cgroup2" else "", "cgroup.procs")
            for folder, one in zip(self.folders, mounted, strict=True)
        ]
        assert self.init.stdout is not None
        if self.init.stdout.readline() != "ready\n":
            self.close()
            raise RuntimeError("the private place did not come up; its error stands above")
        self.pid = _child(self.init)

    def _started(self, root: str, shown: Sequence[str]) -> subprocess.Popen[str]:
        """Start the first process; `shown` are the cgroup mounts it makes."""
        words = [
            *self._join([os.path.join(folder, "cgroup.procs") for folder in self.folders]),
            *("/usr/bin/unshare", "--mount", "--propagation", "private", "--net", "--ipc", "--pid"),
            *("--cgroup", "--fork", "--kill-child=KILL", "--mount-proc"),
            *(sys.executable, "-IS", os.path.join(os.path.dirname(__file__), "place_init.py")),
            *(os.readlink("/proc/self/ns/mnt"), ":".join(_shared()), root, *shown),
        ]
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _join(procs: Sequence[str]) -> list[str]:
        return ["/bin/sh", "-c", JOIN, "join", *procs, "--"]

    def words(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """Give the command line that runs a command in this place."""
        namespaces = ("--mount", "--net", "--ipc", "--pid", "--cgroup")
        values = [
            f"{key}={value}" for key, value in (ENVIRONMENT | dict(environment or {})).items()
        ]
        enter = ["/usr/bin/nsenter", f"--target={self.pid}", *namespaces, "--wdns=/", "--"]
        return [*self._join(self.joined), *enter, "/usr/bin/env", "-i", *values, *command]

    def run(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        timeout: float = 60,
        status: int | None = 0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; a status other than the wanted one fails the test.

        Its input is an empty pipe: runc gives a container's user the files it inherits, and
        /dev/null is the host's.
        """
        done = subprocess.run(
            self.words(command, environment),
            input="",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if status is not None and done.returncode != status:
            told = f"{' '.join(command)}\nended with {done.returncode}, not {status}"
            raise AssertionError(f"{told}\n--- output\n{done.stdout}\n--- errors\n{done.stderr}")
        return done

    def start(
        self, *command: str, log: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a daemon here; it ends with the place."""
        with open(log, "wb") as stream:
            daemon = subprocess.Popen(
                self.words(command, environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self.daemons.append(daemon)
        return daemon

    @staticmethod
    def stop(daemon: subprocess.Popen[bytes]) -> None:
        """Ask a daemon to end and wait until it has."""
        os.kill(_child(daemon), signal.SIGTERM)
        daemon.wait(30)

    def close(self) -> None:
        """Kill everything in the place and remove its cgroups."""
        assert self.init.stdin is not None
        assert self.init.stdout is not None
        self.init.stdin.close()
        self.init.stdout.close()
        try:
            self.init.wait(10)
        except subprocess.TimeoutExpired:
            self.init.kill()
            self.init.wait()
        for daemon in self.daemons:
            daemon.wait(10)
        if left := cgroups.remove(self.folders):
            raise RuntimeError(f"cgroups of the private place would not go away: {left}")
