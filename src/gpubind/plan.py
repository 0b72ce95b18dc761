# SPDX-License-Identifier: Apache-2.0
"""What no OCI spec can say about a container's root, planned as data and done by one function.

A plan is a list of operations. The shim performs it on the bundle's root before the low-level
runtime starts; the CDI hook reads the same plan from its words and performs it in the container's
mount namespace. Each operation prints itself.
"""

from __future__ import annotations

import errno
import posix

from gpubind import folder
from gpubind.errors import ToolkitError, UsageError
from gpubind.root import nameable

CACHE = "/etc/ld.so.cache"
CONF = "/etc/ld.so.conf"
DROP_IN = "/etc/ld.so.conf.d/00-gpubind.conf"

_DENIED = {
    errno.EROFS: ("container's root is read-only", "ROOT-READONLY"),
    errno.EXDEV: ("container has the host's own folder", "ROOT-HOST"),
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpubind import ldcache
    from gpubind.root import Root


class Link:
    """Make `link`, an inner name, a symbolic link with the text `target`."""

    __slots__ = ("link", "target")

    def __init__(self, target: str, link: str) -> None:
        self.target = target
        self.link = link

    def __str__(self) -> str:
        return f"link {self.link} -> {self.target}"

    def writes(self) -> tuple[str, ...]:
        """Give the inner names this changes."""
        return (self.link,)


class LdCache:
    """Make the loader know `libraries` (their basename is the SONAME) and search `folders`.

    `libraries32` are i386 ones. The cache is merged, never made anew by a program; the drop-in
    makes a later ldconfig inside the container keep the folders.
    """

    __slots__ = ("folders", "libraries", "libraries32")

    def __init__(
        self, folders: Sequence[str], libraries: Sequence[str], libraries32: Sequence[str] = ()
    ) -> None:
        self.folders = tuple(folders)
        self.libraries = tuple(libraries)
        self.libraries32 = tuple(libraries32)

    def __str__(self) -> str:
        count = len(self.libraries) + len(self.libraries32)
        return f"enter {count} libraries of {', '.join(self.folders)} into {CACHE}"

    def writes(self) -> tuple[str, ...]:
        """Give the inner names this changes."""
        return (CACHE, CONF, DROP_IN)


if TYPE_CHECKING:
    from typing import Protocol

    class Special(Protocol):
        """An operation of `gpubind.operation`."""

        required: bool

        def writes(self) -> tuple[str, ...]:
            """Give the inner names this changes."""

        def words(self) -> list[str]:
            """Give the hook's words for this."""

        def do(self, root: Root, done: list[str], notes: list[str]) -> list[ldcache.Entry]:
            """Act, and give the loader's entries that come before all others."""

    Operation = Link | LdCache | Special


def ready(operations: Iterable[Operation]) -> None:
    """Load what these operations need, so that no module is looked for while a root is open."""
    if any(isinstance(operation, LdCache) for operation in operations):
        from gpubind import loader  # noqa: F401 - `perform` uses it


def perform(root: Root, operations: Iterable[Operation], notes: list[str]) -> list[str]:
    """Do the operations in a root, in order; give one line for each thing that changed.

    Doing them twice changes nothing the second time. What is best effort and fails, what a
    read-only root lacks, and what would change a folder of the host's that a volume put there, is
    left out and named in `notes`: the container starts. Raises
    ToolkitError naming what could not be done; what was done before stays, each part whole.
    """
    done: list[str] = []
    denied: dict[int, list[str]] = {}
    first: list[ldcache.Entry] = []
    folders: dict[str, int] = {}
    try:
        for operation in operations:
            try:
                if isinstance(operation, Link):
                    _link(root, operation, folders, done)
                elif isinstance(operation, LdCache):
                    from gpubind import loader

                    loader.tell(root, operation, first, done)
                else:
                    first += operation.do(root, done, notes)
            except OSError as error:
                if error.errno in _DENIED:
                    denied.setdefault(error.errno, []).append(str(operation))
                else:
                    _failed(operation, error, notes)
    finally:
        for fd in folders.values():
            posix.close(fd)
    for number, (lacking, *rest) in denied.items():
        why, identifier = _DENIED[number]
        more = f" and {len(rest)} more" if rest else ""
        notes.append(f"{why}, left out: {lacking}{more} [{identifier}]")
    return done


def _failed(operation: Operation, error: OSError, notes: list[str]) -> None:
    message = f"container's root: {operation}: {error.strerror}"
    if getattr(operation, "required", True):
        raise ToolkitError(message, identifier="ROOT-WRITE") from error
    notes.append(f"{message}: left out [ROOT-WRITE]")


def _link(root: Root, operation: Link, folders: dict[str, int], done: list[str]) -> None:
    head, _, base = operation.link.rpartition("/")
    sound = nameable(operation.link) and nameable(operation.target)
    if not sound or base in ("", ".", ".."):
        raise UsageError(f"{operation.link!r} is no name for a link", identifier="ARG-LINK")
    if head not in folders:
        folders[head] = root.make_folders(head or "/", own=True)
    if folder.symlink(folders[head], operation.target, base):
        done.append(str(operation))
