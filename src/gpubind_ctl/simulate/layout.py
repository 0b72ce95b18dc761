# SPDX-License-Identifier: Apache-2.0
"""Writes a simulated node into a folder of its own: nothing else is ever written to."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import stat
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from gpubind import folder as folders
from gpubind.errors import ToolkitError
from gpubind.root import Root
from gpubind_ctl.simulate import driver, embedded, interconnect, kernel, note
from gpubind_ctl.simulate.entries import Entry, File, Folder, Link, Node, Socket

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from gpubind_ctl.simulate.profile import Gpu, Profile

INVENTORY = "gpubind-node.json"
_PROBE, _NEW = ".gpubind-probe", ".gpubind-new"
_NO_NODES = (errno.EPERM, errno.EACCES, errno.EINVAL)  # what kernels and seccomp filters answer


class Nodes(Enum):
    """What device nodes a node can have where it is laid out."""

    REAL = "real"
    BLANK = "blank"  # without a number: 0:0, which Linux lets everybody make since 5.8
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was laid out: how many entries, with which device nodes, notes for the operator."""

    entries: int
    nodes: Nodes
    notes: tuple[str, ...]


def plan(profile: Profile, host_devices: str) -> list[Entry]:
    """Give all of a node but its inventory; `host_devices` is the host's /proc/devices."""
    return [*driver.plan(profile), *shown(profile, host_devices)]


def shown(profile: Profile, host_devices: str) -> list[Entry]:
    """Give what the kernel shows, a part of `plan`."""
    room = embedded if profile.platform else kernel
    return [*room.plan(profile, kernel.gpu_major(host_devices))]


def inventory(profile: Profile) -> dict[str, Any]:
    """Give the document that stands in for NVML."""
    return {
        "format": 1,
        "profile": profile.name,
        "driver": {"version": profile.version, "cuda": profile.cuda},
        "gpus": [_described(gpu) for gpu in profile.gpus],
        "links": interconnect.links(profile),
    }


def _described(gpu: Gpu) -> dict[str, Any]:
    facts = dataclasses.asdict(gpu)
    del facts["hardware"]
    for name in ("coherent", "memory", "clique"):
        if not facts[name]:
            del facts[name]
    mig = {"enabled": facts.pop("mig_enabled")}
    mig |= {"capable": True} if facts.pop("mig_capable") else {}
    parts = [
        {key: said for key, said in part.items() if said is not None}
        for part in facts.pop("instances")
    ]
    return {**facts, "mig": mig | {"instances": parts}}


def lay_out(profile: Profile, folder: str) -> Written:
    """Make `folder` the node `profile` describes, replacing an earlier simulated node there.

    Raises ToolkitError SIM-ROOT where the folder holds anything else, OSError where the file
    system refuses; an inventory without GPUs is left then, so that a second run may finish.
    """
    with open("/proc/devices", encoding="utf-8") as file:
        entries = plan(profile, file.read())
    _prepare(folder)
    with Root(folder) as root:
        _clear(root)
        mark = {"format": 1, "profile": profile.name, "state": "being laid out"}
        folders.write(root.fd, INVENTORY, _encoded(mark))
        nodes, notes = _possible_nodes(root)
        wanted = _feasible(entries, nodes, notes)
        _write(root, wanted, datetime.fromisoformat(profile.built).replace(tzinfo=UTC))
        folders.write(root.fd, INVENTORY, _encoded(inventory(profile)))
    return Written(entries=len(wanted) + 1, nodes=nodes, notes=notes)


def change(
    root: Root, before: Sequence[Entry], after: Sequence[Entry], document: dict[str, Any]
) -> None:
    """Make of a node with the entries `before` one with those `after`, and this inventory.

    What is new or different appears first, then the rest goes, then the inventory changes: at no
    time is a file that stays away or half written.
    """
    nodes, notes = _possible_nodes(root)
    old = {entry.path: entry for entry in _feasible(before, nodes, notes)}
    new = {entry.path: entry for entry in _feasible(after, nodes, notes)}
    _write(
        root, [entry for path, entry in new.items() if old.get(path) != entry], datetime.now(UTC)
    )
    for path in sorted(old.keys() - new.keys(), reverse=True):
        _remove(root, path, new)
    write(root, INVENTORY, document)


def write(root: Root, name: str, document: dict[str, Any]) -> None:
    """Put a JSON document in the node's folder, in place of an earlier one."""
    folders.write(root.fd, name, _encoded(document))


def _remove(root: Root, path: str, kept: Container[str]) -> None:
    """Remove an entry, and the folders above it that hold nothing else and are not to be kept."""
    head, _, name = path.rpartition("/")
    try:
        parent = root.open(head or "/", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return  # went with what was in it
    try:
        if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            os.rmdir(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
        empty = not os.listdir(f"/proc/self/fd/{parent}")
    finally:
        os.close(parent)
    if empty and head and head not in kept:
        _remove(root, head, kept)


def _feasible(entries: Sequence[Entry], nodes: Nodes, notes: Sequence[str]) -> list[Entry]:
    """Give the entries with such nodes as can be made, and a file that says why they are not."""
    if nodes is Nodes.REAL:
        return [*entries]
    kept = [entry for entry in entries if nodes is Nodes.BLANK or not isinstance(entry, Node)]
    kept = [replace(one, major=0, minor=0) if isinstance(one, Node) else one for one in kept]
    return [*kept, File(path=note.FILE, data=f"{notes[0]}\n".encode())]


def _encoded(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def _prepare(folder: str) -> None:
    """Make sure that `folder` exists and is empty or an earlier node."""
    try:
        os.makedirs(folder)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise _refusal(folder, "is not a folder") from None
    if os.path.samefile(folder, "/"):
        raise _refusal(folder, "is the root of this machine")
    names = os.listdir(folder)
    if names and not _is_node(folder):
        raise _refusal(folder, f"is not empty and holds no {INVENTORY}")
    below = os.path.realpath(folder) + "/"
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split(" ")[1] for line in file]
    for point in points:
        # the kernel writes blanks, tabs, newlines and backslashes of a name as octal escapes
        name = point.encode("utf-8", "surrogateescape").decode("unicode_escape")
        if name.startswith(below):
            raise _refusal(folder, f"has {name} mounted in it")


def _is_node(folder: str) -> bool:
    path = os.path.join(folder, INVENTORY)
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return False
        with open(path, "rb") as file:
            document = json.load(file)
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(document, dict) and {"format", "profile"} <= document.keys()


def _refusal(folder: str, reason: str) -> ToolkitError:
    return ToolkitError(
        f"{folder} {reason}",
        identifier="SIM-ROOT",
        hint="name a folder that does not exist, is empty or is an earlier simulated node",
    )


def _clear(root: Root) -> None:
    """Remove an earlier node, its inventory last, so that it stays one until it is gone."""
    for name in root.listdir("/"):
        if name == INVENTORY:
            continue
        if stat.S_ISDIR(root.lstat(f"/{name}").st_mode):
            shutil.rmtree(name, dir_fd=root.fd)
        else:
            os.unlink(name, dir_fd=root.fd)


def _possible_nodes(root: Root) -> tuple[Nodes, tuple[str, ...]]:
    """Tell which device nodes can be made here, with notes on what that means."""
    fault = _probe(root, os.makedev(kernel.UVM_MAJOR, 0))
    if fault:
        blank = not _probe(root, os.makedev(0, 0))
        lack = "device nodes have no numbers" if blank else "device nodes are absent"
        advice = "run as root outside a user namespace to have real ones"
        said = f"{lack}: mknod gives {fault}; {advice}"
        return (Nodes.BLANK if blank else Nodes.ABSENT), (said,)
    if os.statvfs(root.path).f_flag & os.ST_NODEV:
        said = f"{root.path} is mounted nodev: its device nodes exist, opening them gives EACCES"
        return Nodes.REAL, (said,)
    return Nodes.REAL, ()


def _probe(root: Root, number: int) -> str:
    """Make and remove a device node; give why it can't be made, or nothing."""
    try:
        os.mknod(_PROBE, stat.S_IFCHR | 0o600, number, dir_fd=root.fd)
    except OSError as error:
        if error.errno not in _NO_NODES:
            raise
        return error.strerror or "an error"
    os.unlink(_PROBE, dir_fd=root.fd)
    return ""


def _write(root: Root, entries: Sequence[Entry], built: datetime) -> None:
    """Write all entries, each whole or not at all; files are as old as the driver.

    So two nodes of a profile are alike.
    """
    when = int(built.timestamp()) * 10**9
    for entry in entries:
        if isinstance(entry, Folder):
            os.close(root.make_folders(entry.path))
            continue
        head, _, name = entry.path.rpartition("/")
        parent = root.make_folders(head)
        try:
            _make(entry, _NEW, parent)
            os.utime(_NEW, ns=(when, when), dir_fd=parent, follow_symlinks=False)
            os.rename(_NEW, name, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            os.close(parent)


def _make(entry: File | Link | Node | Socket, name: str, parent: int) -> None:
    """Make one entry in the folder `parent`, which has none of that name."""
    match entry:
        case File():
            fd = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent
            )
            with open(fd, "wb") as file:
                file.write(entry.data)
                os.fchmod(fd, entry.mode)
        case Link():
            os.symlink(entry.target, name, dir_fd=parent)
        case Socket():
            # What bind(2) leaves behind when its process ends; needs no short path and no rights.
            os.mknod(name, stat.S_IFSOCK | entry.mode, dir_fd=parent)
            os.chmod(name, entry.mode, dir_fd=parent)
        case Node():
            number = os.makedev(entry.major, entry.minor)
            os.mknod(name, stat.S_IFCHR | entry.mode, number, dir_fd=parent)
            os.chmod(name, entry.mode, dir_fd=parent)
            if entry.major:  # whoever may not make a real one may not give it away either
                os.chown(name, 0, entry.gid, dir_fd=parent)
