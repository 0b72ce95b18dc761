# SPDX-License-Identifier: Apache-2.0
"""User namespaces: whether a container has its own, whether we are in one, and what follows.

No device node can be made in a user namespace, so there a container's node is a bind mount of the
host's. Root of the host sets the device cgroup all the same; a rootless caller can't, and runc and
crun then leave it alone. See user_namespaces(7).
"""

from __future__ import annotations

import posix

MAP = "/proc/self/uid_map"
_INITIAL = ["0", "0", "4294967295"]
_WRITABLE = 0o022
_LIMIT = 1 << 16

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from gpubind.oci.types import Edits, Spec


class Space:
    """Where a container is made: `own`, it gets a user namespace; `rootless`, not by root.

    `bind` tells whether its device nodes are bind mounts, `rules` whether the runtime can set the
    device cgroup.
    """

    __slots__ = ("own", "rootless")

    def __init__(self, *, own: bool = False, rootless: bool = False) -> None:
        self.own = own
        self.rootless = rootless

    @property
    def bind(self) -> bool:
        """Tell whether nodes are bind mounts of the host's."""
        return self.own or self.rootless

    @property
    def rules(self) -> bool:
        """Tell whether the device cgroup takes rules."""
        return not self.rootless


def of(spec: Spec) -> Space:
    """Give where the container of a config.json will be, called from here."""
    return Space(own=is_own(spec), rootless=is_rootless())


def is_own(spec: Spec) -> bool:
    """Tell whether a container has a user namespace of its own, new or joined. Pure.

    Mappings alone make none: both runc and crun refuse them (config-linux.md, User namespace
    mappings).
    """
    namespaces = (spec.get("linux") or {}).get("namespaces") or []
    return any(entry.get("type") == "user" for entry in namespaces)


def is_rootless() -> bool:
    """Tell whether this process is not root of the host, whatever its uid is called here."""
    return posix.geteuid() != 0 or inside()


def inside(file: str = MAP) -> bool:
    """Tell whether this process is in a user namespace; without /proc it is said not to be."""
    try:
        fd = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not is_initial(posix.read(fd, _LIMIT).decode("ascii", "replace"))
    finally:
        posix.close(fd)


def is_initial(text: str) -> bool:
    """Tell whether a uid_map is that of the host: all users under their own numbers. Pure."""
    return text.split() == _INITIAL


def with_groups(edits: Edits, spec: Spec, space: Space, dropped: list[str]) -> Edits:
    """Give the edits with the host's groups under their numbers in the container. Pure.

    Its process can be in a group of the host only where the mapping has that group; each other one
    is left out and named in `dropped`.
    """
    wanted = edits.get("additionalGids")
    if not wanted or not space.bind:
        return edits
    mappings = [] if space.rootless else (spec.get("linux") or {}).get("gidMappings") or []
    kept: list[int] = []
    for gid in wanted:
        number = _within(gid, mappings)
        if number is not None:
            kept.append(number)
        elif gid:
            dropped.append(
                f"group {gid} of the host is not in the container's user namespace: left out "
                "[USERNS-GROUP]"
            )
    return {**edits, "additionalGids": kept}


def _within(gid: int, mappings: Sequence[dict[str, Any]]) -> int | None:
    """Give a group's number inside, None where no mapping has it."""
    for entry in mappings:
        first, host, size = (entry.get(key) for key in ("containerID", "hostID", "size"))
        if isinstance(first, int) and isinstance(host, int) and isinstance(size, int):
            offset = gid - host
            if 0 <= offset < size:
                return first + offset
    return None


def is_hosts(path: str, owner: int) -> bool:
    """Tell whether a system file is the host's root's, though its owner has no number here.

    From inside a user namespace such a file shows the overflow uid, as do those of all other users
    the namespace lacks. So nobody but this owner may be able to write to any folder above it.
    """
    return inside() and is_closed(path, owner, posix.stat)


def is_closed(path: str, owner: int, stat: Callable[[str], posix.stat_result]) -> bool:
    """Tell whether `owner` has `/`, and nobody but he and the caller writes to folders above."""
    known = (owner, posix.geteuid())
    folder = path
    try:
        if not path.startswith("/") or stat("/").st_uid != owner:
            return False
        while folder != "/":
            folder = folder.rpartition("/")[0] or "/"
            status = stat(folder)
            if status.st_uid not in known or status.st_mode & _WRITABLE:
                return False
    except OSError:
        return False
    return True
