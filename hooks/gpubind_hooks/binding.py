# SPDX-License-Identifier: Apache-2.0
"""Binding the host's files into a container: sources opened on the host, attached in there.

Both ends are descriptors. A source is opened, checked and copied as a detached mount before the
container's namespace is entered; a target is opened inside the container's root, made without
following anything where it is absent. Old kernels get mount(2) between the two descriptors' names
in /proc/self/fd, which lead nowhere else.
"""

from __future__ import annotations

import errno
import os
import stat

from gpubind import folder, mounting
from gpubind.errors import ToolkitError
from gpubind.root import MAX_LINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubind.root import Root
    from gpubind_hooks.goods import Bind

_SEEN = os.O_PATH | os.O_CLOEXEC
_KINDS = {"b": stat.S_ISBLK, "c": stat.S_ISCHR}
_OLD = (errno.ENOSYS, errno.EPERM)  # a kernel, or a filter, without the call


class Source:
    """What a bind brings: `fd` of the host's file, `tree` its detached mount, or -1.

    `restricted` tells whether the tree already forbids what it shall.
    """

    __slots__ = ("bind", "fd", "restricted", "tree")

    def __init__(self, bind: Bind) -> None:
        self.bind = bind
        self.fd = os.open(bind.source, _SEEN | (os.O_NOFOLLOW if bind.device else 0))
        self.tree = -1
        self.restricted = False
        try:
            _check(self)
            self.tree = mounting.open_tree(self.fd, recursive=bind.recursive)
            allow = mounting.NODEV if bind.device else 0
            mounting.mount_setattr(self.tree, bind.forbid, allow, recursive=bind.recursive)
            self.restricted = True
        except OSError as error:
            if error.errno not in _OLD:
                self.close()
                raise

    def close(self) -> None:
        """Give the descriptors back; a tree that was not attached vanishes."""
        os.close(self.fd)
        if self.tree >= 0:
            os.close(self.tree)


def _check(source: Source) -> None:
    """Refuse a node that is not the device it was when the container's edits were decided."""
    device = source.bind.device
    if device is None:
        return
    status = os.fstat(source.fd)
    numbers = (os.major(status.st_rdev), os.minor(status.st_rdev))
    if not _KINDS[device.kind](status.st_mode) or numbers != (device.major, device.minor):
        raise OSError(errno.ENODEV, f"is not the device {device}", source.bind.source)


def sources(binds: Iterable[Bind], notes: list[str]) -> list[Source]:
    """Open what the binds bring. Raises ToolkitError for a required one; the others are noted."""
    found: list[Source] = []
    for bind in binds:
        try:
            found.append(Source(bind))
        except OSError as error:
            if bind.required:
                for source in found:
                    source.close()
                raise ToolkitError(
                    f"{bind.source}: {error.strerror}",
                    identifier="PRESTART-SOURCE",
                    hint="run 'gpubind cdi generate' again",
                ) from None
            notes.append(f"{bind.source}: {error.strerror}")
    return found


class Bound:
    """What was changed in a container's root, and how to take it back.

    `tops` are descriptors of attached mounts, `made` of folders with the names made in them.
    """

    __slots__ = ("made", "root", "tops")

    def __init__(self, root: Root) -> None:
        self.root = root
        self.tops: list[int] = []
        self.made: list[tuple[int, str]] = []

    def attach(self, source: Source) -> bool:
        """Put one source at its target; False where it is there already. Raises OSError."""
        own = os.fstat(source.fd)
        target = self.target(source.bind.target, is_folder=stat.S_ISDIR(own.st_mode))
        try:
            status = os.fstat(target)
            if os.path.samestat(own, status) or _is_device(own, status):
                return False
            if source.tree >= 0:
                mounting.move_mount(source.tree, target)
                self.tops.append(os.dup(source.tree))
                if not source.restricted:
                    _remount(source.tree, source.bind)
            else:
                self._mount(source, target)
        finally:
            os.close(target)
        return True

    def _mount(self, source: Source, target: int) -> None:
        """Attach on an old kernel: what the host's name stands for here must be the same file."""
        fd = os.open(source.bind.source, _SEEN)
        try:
            if not os.path.samestat(os.fstat(fd), os.fstat(source.fd)):
                raise OSError(errno.ESTALE, "is another file in the container's namespace")
            flags = mounting.MS_BIND | (mounting.MS_REC if source.bind.recursive else 0)
            mounting.mount(fd, target, "", flags)
        finally:
            os.close(fd)
        top = self.root.open(source.bind.target, os.O_PATH)
        if not os.path.samestat(os.fstat(top), os.fstat(source.fd)):
            os.close(top)
            raise OSError(errno.ESTALE, "was moved while it was mounted on")
        self.tops.append(top)
        _remount(top, source.bind)

    def target(self, name: str, *, is_folder: bool) -> int:
        """Give an O_PATH descriptor of `name` in the root, made where it is absent.

        Dangling links are followed inside the root, one step at a time. Raises OSError.
        """
        for _ in range(MAX_LINKS):
            try:
                return self.root.open(name, os.O_PATH | (os.O_DIRECTORY if is_folder else 0))
            except FileNotFoundError:
                name = self._make(name, is_folder=is_folder) or name
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)

    def _make(self, name: str, *, is_folder: bool) -> str:
        """Make an empty file or a folder; give the link's own name for a dangling one."""
        head, _, base = name.rstrip("/").rpartition("/")
        parent = self.root.make_folders(head or "/")
        try:
            if is_folder:
                folder.make(parent, base, 0o755)
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(base, flags, 0o644, dir_fd=parent))
                folder.give(base, parent)
        except FileExistsError:
            text = _link(parent, base)
            os.close(parent)
            return text if text.startswith("/") or not text else f"{head}/{text}"
        except BaseException:
            os.close(parent)
            raise
        self.made.append((parent, base))
        return name

    def undo(self) -> None:
        """Take every mount away again, and the empty files and folders made for them."""
        for top in reversed(self.tops):
            try:
                mounting.detach(top)
            except OSError:
                continue  # gone with what it was mounted on
        for parent, base in reversed(self.made):
            try:
                _remove(parent, base)
            except OSError:
                continue  # somebody has put something there meanwhile
        self.close()

    def close(self) -> None:
        """Give all descriptors back; what they stand for stays."""
        for fd in (*self.tops, *(parent for parent, _ in self.made)):
            os.close(fd)
        self.tops.clear()
        self.made.clear()


def _link(parent: int, base: str) -> str:
    """Give a link's text; empty where something else has come in its place meanwhile."""
    try:
        return os.readlink(base, dir_fd=parent)
    except OSError:
        return ""


def _is_device(own: os.stat_result, there: os.stat_result) -> bool:
    """Tell whether the same device is there by a node of its own, as with the host's whole /dev."""
    kind = stat.S_IFMT(own.st_mode)
    nodes = kind in (stat.S_IFCHR, stat.S_IFBLK) and kind == stat.S_IFMT(there.st_mode)
    return nodes and own.st_rdev == there.st_rdev


def _remount(top: int, bind: Bind) -> None:
    """Forbid what shall be forbidden, where mount_setattr(2) is not there."""
    mounting.mount("none", top, "", mounting.MS_PRIVATE)
    flags = mounting.MS_REMOUNT | mounting.MS_BIND | bind.forbid
    mounting.mount("none", top, "", flags)


def _remove(parent: int, base: str) -> None:
    status = os.stat(base, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        os.rmdir(base, dir_fd=parent)
    elif stat.S_ISREG(status.st_mode) and not status.st_size:
        os.unlink(base, dir_fd=parent)
