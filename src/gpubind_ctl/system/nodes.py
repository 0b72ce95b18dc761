# SPDX-License-Identifier: Apache-2.0
"""Making device nodes below a root's /dev: planned first, and then done through descriptors."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gpubind.root import Root
    from gpubind_ctl.system.devices import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What is to be done for one node; `fault` says what is wrong with one that is there."""

    wanted: Wanted
    path: str
    fault: str = ""

    def __str__(self) -> str:
        one = self.wanted
        made = f"mknod --mode={one.mode:04o} {self.path} c {one.major} {one.minor}"
        if self.fault:
            made = f"rm {self.path} && {made}"
        owner = f" && chown {one.uid}:{one.gid} {self.path}" if one.uid or one.gid else ""
        return f"{made}{owner}"


def plan(root: Root, wanted: Iterable[Wanted]) -> Iterator[Act]:
    """Give what is not as it should be: nodes that are absent, and those with a fault."""
    for one in wanted:
        path = root.outer(one.path)
        try:
            status = root.lstat(one.path)
        except FileNotFoundError:
            yield Act(wanted=one, path=path)
            continue
        fault = _fault(one, status)
        if fault:
            yield Act(wanted=one, path=path, fault=f"{path} {fault}")


def _fault(one: Wanted, status: os.stat_result) -> str:
    should = f"should be a device {one.major}:{one.minor}"
    if not stat.S_ISCHR(status.st_mode):
        return f"is no character device, and {should}"
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if (major, minor) != (one.major, one.minor):
        return f"is {major}:{minor}, and {should}"
    mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
    if mode != one.mode:
        return f"has mode {mode:04o}, and the driver says {one.mode:04o}"
    if owner != (one.uid, one.gid):
        return f"belongs to {owner[0]}:{owner[1]}, and the driver says {one.uid}:{one.gid}"
    return ""


def make(root: Root, act: Act) -> None:
    """Do one act: the node gets its name when it is whole; what had the name goes.

    Raises ToolkitError NODE-DENIED where nobody but root may do that, OSError else.
    """
    one = act.wanted
    head, _, base = one.path.rpartition("/")
    folder = root.make_folders(head)
    temporary = f".gpubind-{os.urandom(8).hex()}"
    try:
        os.mknod(temporary, stat.S_IFCHR | 0o600, os.makedev(one.major, one.minor), dir_fd=folder)
        try:
            os.chown(temporary, one.uid, one.gid, dir_fd=folder, follow_symlinks=False)
            os.chmod(temporary, one.mode, dir_fd=folder)
            if act.fault:
                os.rename(temporary, base, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                _name(folder, temporary, base)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
    except PermissionError as error:
        raise ToolkitError(
            f"{act.path} can't be made: {error.strerror}",
            identifier="NODE-DENIED",
            hint="run as root, outside of user namespaces",
        ) from error
    finally:
        os.close(folder)


def _name(folder: int, temporary: str, base: str) -> None:
    """Give a node its name unless something has it by now, such as the driver's own tool's node."""
    with contextlib.suppress(FileExistsError):
        os.link(temporary, base, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    os.unlink(temporary, dir_fd=folder)
