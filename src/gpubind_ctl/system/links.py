# SPDX-License-Identifier: Apache-2.0
"""Links /dev/char/MAJOR:MINOR to device nodes: systemd looks a container's devices up there."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind_cdi.lookup import files

from gpubind import folder
from gpubind_ctl.system.devices import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gpubind.root import Root

CHAR = "/dev/char"
OTHERS = ("nvidia-fs", "nvidia-nvswitch", "nvidia-nvlink")  # the field leaves them out


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link to be made; `fault` says what is wrong with the one that is there."""

    name: str
    target: str
    path: str
    fault: str = ""

    def __str__(self) -> str:
        force = "f" if self.fault else ""
        return f"ln -s{force} {self.target} {self.path}"


def present(nodes: Root) -> Iterator[Wanted]:
    """Give the driver's nodes that are in a root's /dev, with the numbers they have."""
    names = [f"/dev/{name}" for name in files.listed(nodes, "/dev") if name.startswith("nvidia")]
    names += [f"/dev/nvidia-caps/{name}" for name in files.listed(nodes, "/dev/nvidia-caps")]
    for path in names:
        if path.removeprefix("/dev/").startswith(OTHERS):
            continue
        status = nodes.lstat(path)
        if stat.S_ISCHR(status.st_mode):
            yield Wanted(
                path=path,
                major=os.major(status.st_rdev),
                minor=os.minor(status.st_rdev),
                mode=stat.S_IMODE(status.st_mode),
                uid=status.st_uid,
                gid=status.st_gid,
            )


def plan(place: str, nodes: Root, wanted: Iterable[Wanted]) -> Iterator[Link]:
    """Give the links in the folder `place` that are absent or lead elsewhere."""
    seen = set()
    for one in wanted:
        name, target = f"{one.major}:{one.minor}", nodes.outer(one.path)
        path = os.path.join(place, name)
        if name in seen or one.major == 0:
            continue
        seen.add(name)
        if not os.path.lexists(path):
            yield Link(name=name, target=target, path=path)
        elif not _leads(path, one):
            held = os.readlink(path) if os.path.islink(path) else "something else"
            fault = f"{path} leads to {held}, and should to {target}"
            yield Link(name=name, target=target, path=path, fault=fault)


def make(place: str, link: Link) -> None:
    """Make a link, its folder if that is absent; whatever had the name goes. Raises OSError."""
    os.makedirs(place, 0o755, exist_ok=True)
    fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folder.symlink(fd, link.target, link.name)
    finally:
        os.close(fd)


def _leads(path: str, one: Wanted) -> bool:
    """Tell whether a link leads to a device of that number, by whatever name."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(one.major, one.minor)
