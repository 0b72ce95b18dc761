# SPDX-License-Identifier: Apache-2.0
"""Device-node modification: keep the driver's tools in a container from making nodes by themselves.

Where the kernel's /proc/driver/nvidia/params says `ModifyDeviceFiles: 1`, the driver's libraries
may create and change /dev/nvidia*. A container that reads 0 there leaves its nodes alone. runc
refuses mounts inside /proc in a spec, so the hook mounts a copy over the file.
"""

from __future__ import annotations

import os

from gpubind import folder, paths
from gpubind.root import contents

NAME = "disable-device-node-modification"
OPTIONS: tuple[str, ...] = ()
PARAMS = "/proc/driver/nvidia/params"
COPY = "params"
LIMIT = 1 << 16
ALLOWED = b"ModifyDeviceFiles: 1"
DENIED = b"ModifyDeviceFiles: 0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind import ldcache
    from gpubind.root import Root


class MaskParams:
    """Show the container a copy of the driver's `params` that forbids changing device nodes.

    `state` is the host's folder the copy lies in, `source` the kernel's file.
    """

    __slots__ = ("source", "state")
    required = False

    def __init__(self, state: str = paths.STATE, source: str = PARAMS) -> None:
        self.state = state
        self.source = source

    def __str__(self) -> str:
        return f"forbid device-node modification in {PARAMS}"

    def writes(self) -> tuple[str, ...]:
        """Give the inner names this changes."""
        return (PARAMS,)

    def words(self) -> list[str]:
        """Give the hook's words for this."""
        return [NAME]

    def do(self, root: Root, done: list[str], notes: list[str]) -> list[ldcache.Entry]:  # noqa: ARG002 - as every operation
        """Mount the copy in the namespace this runs in. Raises OSError."""
        text = masked(_read(self.source))
        if text is None or not root.exists(PARAMS) or masked(root.read(PARAMS, LIMIT)) is None:
            return []
        from gpubind import mounting

        fd = _copy(self.state, text)
        try:
            tree = mounting.open_tree(fd)
        finally:
            os.close(fd)
        target = root.open(PARAMS, os.O_PATH | os.O_NOFOLLOW)
        try:
            forbidden = mounting.RDONLY | mounting.NOSUID | mounting.NODEV | mounting.NOEXEC
            mounting.mount_setattr(tree, forbidden)
            mounting.move_mount(tree, target)
        finally:
            os.close(target)
            os.close(tree)
        done.append(str(self))
        return []


def parse(options: list[tuple[str, str]]) -> list[MaskParams]:
    """Give the operation; the hook has no options."""
    return [] if options else [MaskParams()]


def masked(text: bytes | None) -> bytes | None:
    """Give the parameters with modification forbidden; None where it is already. Pure."""
    lines = (text or b"").split(b"\n")
    if ALLOWED not in lines or DENIED in lines:
        return None
    return b"\n".join(DENIED if line == ALLOWED else line for line in lines)


def is_open(source: str = PARAMS) -> bool:
    """Tell whether this host's driver lets its user-mode part change device nodes."""
    return masked(_read(source)) is not None


def _read(source: str) -> bytes | None:
    try:
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return contents(fd, source, LIMIT)
    except OSError:
        return None
    finally:
        os.close(fd)


def _copy(state: str, text: bytes) -> int:
    """Give a descriptor of the copy on the host, written where it says something else."""
    file = f"{state}/{COPY}"
    if _read(file) != text:
        os.makedirs(state, 0o755, exist_ok=True)
        parent = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            folder.write(parent, COPY, text, 0o444)
        finally:
            os.close(parent)
    return os.open(file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
