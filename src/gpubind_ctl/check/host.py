# SPDX-License-Identifier: Apache-2.0
"""Whether what a spec names is on the host: paths of mounts, device nodes, programs of hooks.

Everything is looked at through O_PATH descriptors: no file is opened, no FIFO waited for, no
automount or magic link followed.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from gpubind_ctl.check.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gpubind_cdi.model import ContainerEdits, DeviceNode, Hook, Spec

    from gpubind.root import Root

    Faults = Iterator[tuple[str, str, str]]  # identifier, message, hint

AGAIN = "run 'gpubind cdi generate' again, or mend the host"
GONE = ("CDI-HOST-PATH", "CDI-NODE")
"""What is told of a path by name."""
INSIDE = "startContainer"  # such a hook's program is the container's
TYPES = {"b": stat.S_ISBLK, "c": stat.S_ISCHR, "u": stat.S_ISCHR, "p": stat.S_ISFIFO}
OTHERS = stat.S_IWGRP | stat.S_IWOTH


def findings(
    file: str, spec: Spec, root: Root, folders: Collection[str], owners: Collection[int]
) -> Iterator[Finding]:
    """Give what of a spec is not true in the host's `root`; `folders` are the spec directories."""
    parts = [(device.name, device.container_edits) for device in spec.devices]
    for name, edits in [("", spec.container_edits), *parts]:
        for identifier, message, hint in _faults(edits, root, folders, owners):
            yield Finding(
                identifier=identifier,
                file=file,
                devices=(name,) if name else (),
                message=message,
                hint=hint,
            )


def _faults(
    edits: ContainerEdits, root: Root, folders: Collection[str], owners: Collection[int]
) -> Faults:
    for mount in edits.mounts:
        fault = _missing(root, mount.host_path) if mount.host_path.startswith("/") else ""
        if fault and mount.type in {"", "bind"}:
            yield "CDI-HOST-PATH", f"mount of {mount.host_path}: {fault}", AGAIN
    for node in edits.device_nodes:
        fault = _node_fault(root, node)
        if fault:
            yield "CDI-NODE", f"device node {node.host_path or node.path}: {fault}", AGAIN
    for hook in edits.hooks:
        yield from _hook_faults(root, hook, folders, owners)


def _missing(root: Root, path: str) -> str:
    try:
        root.stat(path)
    except OSError as error:
        dangling = isinstance(error, FileNotFoundError) and _is_link(root, path)
        return "a link to nothing" if dangling else _reason(error)
    return ""


def _node_fault(root: Root, node: DeviceNode) -> str:
    try:
        status = root.lstat(node.host_path or node.path)
    except OSError as error:
        return _reason(error)
    kind = next((letter for letter in "bcp" if TYPES[letter](status.st_mode)), "")
    if not kind:
        what = "a link" if stat.S_ISLNK(status.st_mode) else "something else"
        return f"it is {what}, which engines refuse"
    if node.type and not TYPES[node.type](status.st_mode):
        return f"it is of type {kind}, the spec says {node.type}"
    found = os.major(status.st_rdev), os.minor(status.st_rdev)
    if node.major and kind != "p" and found != (node.major, node.minor):
        return f"it is {found[0]}:{found[1]} now, the spec says {node.major}:{node.minor}"
    return ""


def _hook_faults(
    root: Root, hook: Hook, folders: Collection[str], owners: Collection[int]
) -> Faults:
    if not hook.env:
        yield (
            "CDI-HOOK-ENV",
            f"{hook.hook_name} hook {hook.path} has no env: an image's variables could steer it",
            "give it one in the spec, such as PATH=/usr/bin",
        )
    if hook.hook_name == INSIDE:
        return
    fault = _program_fault(root, hook.path, folders, owners)
    if fault:
        hint = "install the program, or mend the spec"
        yield "CDI-HOOK", f"{hook.hook_name} hook {hook.path}: {fault}", hint


def _program_fault(root: Root, path: str, folders: Collection[str], owners: Collection[int]) -> str:
    if not path.startswith("/"):
        return "not an absolute path"
    try:
        place = root.resolve(path)
        status = root.stat(path)
    except OSError as error:
        return _reason(error)
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
        return "not an executable file"
    for folder in folders:
        if f"{place}/".startswith(f"{_resolved(root, folder)}/"):
            return f"lies in the spec directory {folder}, which holds data"
    return _open_to_others(root, place, owners)


def _open_to_others(root: Root, place: str, owners: Collection[int]) -> str:
    """Say who but root could exchange a program: by its own mode or owner or a folder's above."""
    above = place
    while True:
        status = root.stat(above)
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid not in owners:
            return f"{above} belongs to user {status.st_uid}, who could exchange it"
        if status.st_mode & stat.S_IWOTH and not sticky:
            return f"{above} is writable by everybody, who could exchange it"
        if above == place and status.st_mode & stat.S_IWGRP and status.st_gid:
            return f"{above} is writable by group {status.st_gid}, who could exchange it"
        if above == "/":
            return ""
        above = above.rpartition("/")[0] or "/"


def _resolved(root: Root, folder: str) -> str:
    try:
        return root.resolve(folder)
    except OSError:
        return folder


def _is_link(root: Root, path: str) -> bool:
    try:
        return stat.S_ISLNK(root.lstat(path).st_mode)
    except OSError:
        return False


def _reason(error: OSError) -> str:
    return "it is not there" if isinstance(error, FileNotFoundError) else error.strerror or "?"
