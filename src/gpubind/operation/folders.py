# SPDX-License-Identifier: Apache-2.0
"""`update-ldcache` with folders alone, as specs of the field's generator have it.

Such a spec mounts a driver's files by their versioned names and leaves it to ldconfig to make the
links the loader asks for and to enter them. What ldconfig would find in the folders is found here.
"""

from __future__ import annotations

import os
import stat

from gpubind import elf, folder, ldcache, loader, plan
from gpubind.errors import DocumentError

MAX_FILES = 1 << 14

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind.root import Root


class Folders:
    """Make the loader find each library in `folders`: a link by its SONAME, and an entry."""

    __slots__ = ("folders",)
    required = True

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = tuple(folders)

    def __str__(self) -> str:
        return f"enter the libraries in {', '.join(self.folders)} into {plan.CACHE}"

    def writes(self) -> tuple[str, ...]:
        """Give the inner names this changes, but for the links."""
        return (plan.CACHE, plan.CONF, plan.DROP_IN)

    def words(self) -> list[str]:
        """Give the hook's words for this."""
        return ["update-ldcache", *(word for name in self.folders for word in ("--folder", name))]

    def do(self, root: Root, done: list[str], notes: list[str]) -> list[ldcache.Entry]:  # noqa: ARG002 - as every operation
        """Make the links and tell the loader. Raises OSError."""
        known = _known(root)
        machine = "aarch64" if os.uname().machine == "aarch64" else "x86-64"
        found: dict[str, list[str]] = {machine: [], "i386": []}
        for place in self.folders:
            for (kind, soname), base in newest(root, place).items():
                if kind not in found:
                    continue
                if base != soname:
                    _link(root, place, soname, base, done)
                if f"{place}/{soname}" not in known:
                    found[kind].append(f"{place}/{soname}")
        told = plan.LdCache(self.folders, found[machine], found["i386"])
        loader.tell(root, told, (), done)
        return []


def newest(root: Root, place: str) -> dict[tuple[str, str], str]:
    """Give the file of each library in a folder, by machine and SONAME: as ldconfig, the newest."""
    best: dict[tuple[str, str], str] = {}
    try:
        names = root.listdir(place)[:MAX_FILES]
    except OSError:
        return best
    for name in names:
        known = _read(root, f"{place}/{name}") if name[:3] == "lib" and ".so" in name else None
        if known is None:
            continue
        key = known.machine, known.soname or name
        if key not in best or _rank(best[key]) < _rank(name):
            best[key] = name
    return best


def _read(root: Root, name: str) -> elf.Elf | None:
    """Give what a library says of itself, None for what is none."""
    try:
        if not stat.S_ISREG(root.lstat(name).st_mode):
            return None
        fd = root.open(name)
    except OSError:
        return None
    try:
        return elf.read(fd)
    except (elf.ElfError, OSError):
        return None
    finally:
        os.close(fd)


def _rank(name: str) -> bytes:
    return ldcache.rank(os.fsencode(name))


def _known(root: Root) -> set[str]:
    """Give the paths that the image's cache has: these keep their places."""
    try:
        cache = root.read(plan.CACHE, loader.LIMIT)
        return {os.fsdecode(entry.path) for entry in ldcache.read(cache)}
    except (OSError, DocumentError):
        return set()


def _link(root: Root, place: str, soname: str, base: str, done: list[str]) -> None:
    """Have the SONAME lead to the file, unless it is a file itself."""
    parent = root.make_folders(place, own=True)
    try:
        seen = os.stat(soname, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        seen = stat.S_IFLNK
    try:
        if stat.S_ISLNK(seen) and folder.symlink(parent, base, soname):
            done.append(f"link {place}/{soname} -> {base}")
    finally:
        os.close(parent)
