# SPDX-License-Identifier: Apache-2.0
"""What a decision puts into a container that is already being made. Pure.

An OCI spec's words for it came too late: its mounts are mounted, its nodes made, its cgroup closed.
So mounts and nodes become binds, each from a file of the host to a name in the container, and
rules for the device cgroup. What only a spec can say is named and left out.
"""

from __future__ import annotations

from gpubind import edits

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # as in mount(2), and as in mount_setattr(2)
_FORBIDS = {"ro": RDONLY, "nosuid": NOSUID, "nodev": NODEV, "noexec": NOEXEC}
_NODE = RDONLY | NOSUID | NOEXEC  # read-only keeps it from chmod; it opens for writing still

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubind.oci.types import Edits, Mount, Node


class Rule:
    """One device the container may use: kind `c` or `b`, its numbers, and `rwm` or less."""

    __slots__ = ("access", "kind", "major", "minor")

    def __init__(self, kind: str, major: int, minor: int, access: str) -> None:
        self.kind = kind
        self.major = major
        self.minor = minor
        self.access = access

    def __str__(self) -> str:
        return f"{self.kind} {self.major}:{self.minor} {self.access}"


class Bind:
    """One file or folder `source` of the host at `target` in the container.

    `forbid` is what the mount forbids; `device` is the rule of a node, None for all else.
    """

    __slots__ = ("device", "forbid", "recursive", "required", "source", "target")

    def __init__(self, source: str, target: str, forbid: int, *, required: bool = True) -> None:
        self.source = source
        self.target = target
        self.forbid = forbid
        self.required = required
        self.recursive = False
        self.device: Rule | None = None

    def __str__(self) -> str:
        return f"mount {self.source} at {self.target}"


def binds(wanted: Iterable[Edits]) -> list[Bind]:
    """Give the binds, folders before what lies in them; of two at one target the last counts."""
    at: dict[str, Bind] = {}
    for edit in wanted:
        found = [_of_mount(mount) for mount in edit.get("mounts", ()) if _is_bind(mount)]
        found += [_of_node(node) for node in edit.get("deviceNodes", ()) if node["type"] != "p"]
        for bind in found:
            at.pop(bind.target, None)
            at[bind.target] = bind
    return sorted(at.values(), key=lambda bind: bind.target.count("/"))


def _is_bind(mount: Mount) -> bool:
    return mount.get("type", "bind") in ("bind", "none", "")


def _of_mount(mount: Mount) -> Bind:
    options = mount.get("options") or []
    forbid = 0
    for option in options:
        forbid |= _FORBIDS.get(option, 0)
    required = mount.get("required", True)
    bind = Bind(mount["hostPath"], mount["containerPath"], forbid, required=required)
    bind.recursive = "rbind" in options
    return bind


def _of_node(node: Node) -> Bind:
    host = node.get("hostPath") or node["path"]
    bind = Bind(host, node["path"], _NODE, required=node.get("required", True))
    kind = "b" if node["type"] == "b" else "c"
    access = node.get("permissions") or edits.PERMISSIONS
    bind.device = Rule(kind, node["major"], node["minor"], "" if access == "none" else access)
    return bind


def rules(found: Iterable[Bind]) -> list[Rule]:
    """Give what the device cgroup must allow for these binds, each once."""
    wanted = [bind.device for bind in found if bind.device is not None and bind.device.access]
    return list({str(rule): rule for rule in wanted}.values())


def left_out(wanted: Iterable[Edits], void: str) -> list[str]:
    """Give a line for each thing that only an OCI spec can give a container; `void` is no loss."""
    lines: list[str] = []
    for edit in wanted:
        lines += [f"variable {entry}" for entry in edit.get("env", ()) if entry != void]
        lines += [f"hook {hook['path']}" for hook in edit.get("hooks", ())]
        lines += [f"group {gid}" for gid in edit.get("additionalGids", ()) if gid]
        nodes = edit.get("deviceNodes", ())
        lines += [f"FIFO {node['path']}" for node in nodes if node["type"] == "p"]
        lines += [f"network device {entry['name']}" for entry in edit.get("netDevices", ())]
        lines += [
            f"{mount['type']} at {mount['containerPath']}"
            for mount in edit.get("mounts", ())
            if not _is_bind(mount)
        ]
        if edit.get("intelRdt"):
            lines.append("class of service (intelRdt)")
    return list(dict.fromkeys(lines))
