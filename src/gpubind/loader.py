# SPDX-License-Identifier: Apache-2.0
"""Telling a container's loader of new libraries: ld.so.cache, its drop-in, musl's path file.

The cache is merged in place of running ldconfig; the drop-in makes a later ldconfig inside keep
the folders. Loaded only where a plan has libraries.
"""

from __future__ import annotations

import posix
import stat

from gpubind import folder, ldcache, ldsoconf, linux
from gpubind.errors import DocumentError
from gpubind.plan import CACHE, CONF, DROP_IN

LIMIT = 32 << 20
"""Bytes a cache may have."""

MOST_FOLDERS = 256
"""Folders that are taken from what is a link in place of musl's file."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind.plan import LdCache
    from gpubind.root import Root


def tell(root: Root, operation: LdCache, first: Sequence[ldcache.Entry], done: list[str]) -> None:
    """Make a root's loader know an operation's libraries, after those of `first`.

    Adds a line to `done` for each file that changed. Raises OSError.
    """
    machine = posix.uname().machine
    flags = ldcache.FLAGS["aarch64" if machine == "aarch64" else "x86-64"]
    entries = [*first, *(ldcache.Entry(*_named(path), flags) for path in operation.libraries)]
    flags32 = ldcache.FLAGS["i386"]
    entries += [ldcache.Entry(*_named(path), flags32) for path in operation.libraries32]
    folders = [linux.fsencode(name) for name in operation.folders]
    etc = root.make_folders("/etc", own=True)
    try:
        _merge(root, etc, entries, folders, done)
        _conf(root, etc, done)
        confd = root.make_folders("/etc/ld.so.conf.d", own=True)
        try:
            new = ldsoconf.drop_in(folders)
            _put(confd, DROP_IN.rpartition("/")[2], new, _old(root, DROP_IN), done)
        finally:
            posix.close(confd)
        _musl(root, etc, folders, done)
    finally:
        posix.close(etc)


def _merge(
    root: Root, etc: int, entries: list[ldcache.Entry], folders: Sequence[bytes], done: list[str]
) -> None:
    old = _old(root, CACHE, LIMIT)
    try:
        new = ldcache.merge(old or b"", entries, own_folders=folders)
    except DocumentError:
        new = ldcache.merge(b"", entries, own_folders=folders)
        done.append(f"{CACHE} is damaged: make it anew")
    _put(etc, "ld.so.cache", new, old, done)


def _conf(root: Root, etc: int, done: list[str]) -> None:
    """Have ldconfig read the drop-ins.

    What a link leads to may be a volume's, and not for all users of the container: it is named in
    the new file, never copied there.
    """
    linked = _is_link(root, CONF)
    old = _old(root, CONF, follow=linked)
    new = ldsoconf.conf_with_include(old)
    if old and linked and new is not None:
        new = ldsoconf.conf_with_include(ldsoconf.including(linux.fsencode(root.resolve(CONF))))
    _put(etc, "ld.so.conf", new, old, done)


def _musl(root: Root, etc: int, folders: Sequence[bytes], done: list[str]) -> None:
    """Tell musl's loader, where it is the container's (ld-musl-ARCH.path)."""
    base = f"ld-musl-{posix.uname().machine}"
    if root.exists(f"/lib/{base}.so.1"):
        name = f"/etc/{base}.path"
        linked = _is_link(root, name)
        old = known = _old(root, name, follow=linked)
        if old and linked:  # as in `_conf`
            named = ldsoconf.musl_folders(old)[:MOST_FOLDERS]
            known = b"\n".join(one for one in named if root.exists(linux.fsdecode(one)))
        _put(etc, f"{base}.path", ldsoconf.musl_path(known, folders), old, done)


def _is_link(root: Root, name: str) -> bool:
    try:
        return stat.S_ISLNK(root.lstat(name).st_mode)
    except OSError:
        return False


def _named(path: str) -> tuple[bytes, bytes]:
    name = linux.fsencode(path)
    return name.rpartition(b"/")[2], name


def _old(root: Root, name: str, limit: int = 1 << 20, *, follow: bool = True) -> bytes | None:
    """Give the bytes of a regular file; None for a FIFO, something too large, or nothing.

    What says it is empty is not read: so do the kernel's own files, and to read /proc/kmsg takes
    the messages from who they are for, or waits for one.
    """
    try:
        found = root.stat(name) if follow else root.lstat(name)
        empty = stat.S_ISREG(found.st_mode) and not found.st_size
        return b"" if empty else root.read(name, limit, follow=follow)
    except OSError:
        return None


def _put(parent: int, base: str, new: bytes | None, old: bytes | None, done: list[str]) -> None:
    """Write a file below an open folder where that changes it."""
    if new is not None and new != old:
        folder.write(parent, base, new)
        done.append(f"write {base}")
