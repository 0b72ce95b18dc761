# SPDX-License-Identifier: Apache-2.0
"""The container's first process, and being in its mount namespace for a while.

Nothing may be imported there: names in `sys.path` could lead into the image by then. All that is
needed is loaded before, and an import that is tried all the same fails.
"""

from __future__ import annotations

import codecs
import os
import sys

from gpubind import mounting
from gpubind.errors import ToolkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Process:
    """A process by a descriptor of its /proc folder, which never stands for another process."""

    __slots__ = ("fd", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self.fd = os.open(f"/proc/{pid}", _FOLDER)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> ToolkitError:
        return ToolkitError(
            f"process {self.pid} of the OCI state: {error.strerror}", identifier="PRESTART-PROCESS"
        )

    def cgroups(self) -> str:
        """Give its /proc/PID/cgroup. Raises ToolkitError where the process is gone."""
        return self._read("cgroup")

    def _read(self, name: str) -> str:
        try:
            return _text(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd))
        except OSError as error:
            raise self._failed(error) from None

    def root(self) -> int:
        """Give a descriptor of its root folder, in its mount namespace."""
        return os.open("root", _FOLDER, dir_fd=self.fd)

    def mounts(self) -> Mounts:
        """Give its mount namespace. Raises ToolkitError where that is our own."""
        try:
            fd = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
            own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._failed(error) from None
        if os.path.samestat(os.fstat(fd), os.fstat(own)):
            raise ToolkitError(
                f"process {self.pid} has no mount namespace of its own",
                identifier="PRESTART-NAMESPACE",
                hint="without one the driver would be put onto the host: give the container one",
            )
        return Mounts(fd, own, self.owner())

    def owner(self) -> tuple[int, int]:
        """Give the host's numbers of the container's root user and group."""
        texts = [self._read(name) for name in ("uid_map", "gid_map")]
        return mapped(texts[0]), mapped(texts[1])


class Mounts:
    """Another mount namespace: inside a `with`, this process is there, and acts as `owner`.

    `owner` is the container's root, user and group: what is made belongs to it.
    """

    __slots__ = ("guard", "other", "own", "owner")

    def __init__(self, other: int, own: int, owner: tuple[int, int]) -> None:
        self.other = other
        self.own = own
        self.owner = owner
        self.guard = Guard()

    def __enter__(self) -> None:
        ready()
        sys.meta_path.insert(0, self.guard)
        try:
            self._enter()
        except OSError as error:
            sys.meta_path.remove(self.guard)
            raise ToolkitError(
                f"the container's mount namespace cannot be entered: {error.strerror}",
                identifier="PRESTART-NAMESPACE",
                hint="the hook must run as root with CAP_SYS_ADMIN",
            ) from None

    def _enter(self) -> None:
        mounting.setns(self.other, mounting.CLONE_NEWNS)
        try:
            if self.owner != _own():
                mounting.act_as(*self.owner)
        except OSError:
            mounting.setns(self.own, mounting.CLONE_NEWNS)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.owner != _own():
            mounting.act_as(*_own())
        mounting.setns(self.own, mounting.CLONE_NEWNS)
        sys.meta_path.remove(self.guard)
        os.close(self.other)
        os.close(self.own)


class Guard:
    """Refuses every import of what is not loaded yet."""

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse. Raises ToolkitError: an ImportError could be taken for an absent module."""
        raise ToolkitError(
            f"{name} would have been imported inside the container",
            identifier="PRESTART-IMPORT",
            hint="please report it",
        )


def _own() -> tuple[int, int]:
    return os.geteuid(), os.getegid()


def mapped(text: str) -> int:
    """Give what a user namespace's root is outside, from its uid_map or gid_map. Pure.

    It is 0 where the namespace has no root; see user_namespaces(7).
    """
    rows = [[int(word) for word in line.split()] for line in text.splitlines()]
    return next((outside for inside, outside, _ in rows if inside == 0), 0)


def ready() -> None:
    """Load what Python would load late: codecs that messages use."""
    for name in ("ascii", "utf-8", "unicode_escape"):
        codecs.lookup(name)


def own_mounts() -> str:
    """Give our own /proc/self/mountinfo."""
    return _text(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC))


def _text(fd: int) -> str:
    """Give the text of a file in /proc, and close it."""
    parts = []
    try:
        while part := os.read(fd, 1 << 16):
            parts.append(part)
    finally:
        os.close(fd)
    return os.fsdecode(b"".join(parts))
