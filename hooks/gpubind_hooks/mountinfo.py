# SPDX-License-Identifier: Apache-2.0
"""Where a process's device cgroup is, from what /proc says about it. Pure.

The two texts are /proc/PID/cgroup (cgroups(7)) and /proc/self/mountinfo (proc(5)); both are as the
reader's own cgroup namespace sees them.
"""

from __future__ import annotations

from gpubind.errors import ToolkitError

DEVICES = "devices"


class Place:
    """A process's device cgroup: `folder` on the host, and the cgroup `version`, 1 or 2."""

    __slots__ = ("folder", "version")

    def __init__(self, folder: str, version: int) -> None:
        self.folder = folder
        self.version = version


def device_cgroup(cgroups: str, mounts: str) -> Place:
    """Give where the device cgroup is: version 1 where its controller is mounted, else version 2.

    Raises ToolkitError where neither is mounted, or the cgroup is outside of what is.
    """
    paths = dict(_paths(cgroups))
    for version, name in ((1, DEVICES), (2, "")):
        places = _mounted(mounts, version)
        if name not in paths or not places:
            continue
        for root, where in places:
            inner = _below(paths[name], root)
            if inner is not None:
                return Place(where + inner, version)
        raise _absent(f"{paths[name]} (version {version}) is not below {places[0][0]}")
    raise _absent("is not mounted")


def _absent(why: str) -> ToolkitError:
    return ToolkitError(
        f"the container's device cgroup {why}",
        identifier="CGROUP-ABSENT",
        hint="mount it on /sys/fs/cgroup, or use the runtime gpubind-runtime",
    )


def _paths(cgroups: str) -> list[tuple[str, str]]:
    """Give each controller's path; version 2 has the empty name."""
    found: list[tuple[str, str]] = []
    for line in filter(None, cgroups.split("\n")):
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        found += [(controller, path) for controller in controllers.split(",") if colon]
    return found


def _mounted(mounts: str, version: int) -> list[tuple[str, str]]:
    """Give root and place of each mount of the wanted hierarchy; the last mounted counts first."""
    found: list[tuple[str, str]] = []
    for line in filter(None, mounts.split("\n")):  # a form feed can be part of a name
        before, _, after = line.partition(" - ")
        kind, _, options = (*after.split(" ", 2), "", "")[:3]
        root, where = (*before.split(" "), "", "", "", "", "")[3:5]
        named = DEVICES in options.split(",")
        if not where.startswith("/"):
            continue  # no line of the kernel's
        if (kind == "cgroup2" and version == 2) or (kind == "cgroup" and version == 1 and named):
            found.append((plain(root), plain(where)))
    return found[::-1]


def _below(path: str, root: str) -> str | None:
    """Give what of a cgroup's path is below a mount's root, None where it is elsewhere."""
    if not path.startswith("/") or ".." in path.split("/"):
        return None
    if root == "/":
        return path.rstrip("/")
    if path != root and not path.startswith(root + "/"):
        return None
    return path[len(root) :]


def plain(field: str) -> str:
    """Give a field of mountinfo with its octal escapes (space, tab, newline, backslash) undone."""
    parts = field.split("\\")
    return parts[0] + "".join(_letter(part[:3]) + part[3:] for part in parts[1:])


def _letter(digits: str) -> str:
    """Give the letter of an escape; what the kernel never writes stays as it is."""
    is_octal = len(digits) == 3 and set(digits) <= set("01234567")
    return chr(int(digits, 8)) if is_octal else f"\\{digits}"
