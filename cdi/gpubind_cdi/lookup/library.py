# SPDX-License-Identifier: Apache-2.0
"""Shared libraries of a root: the folders they live in, and what each file says of itself.

Folders come in the order of the field: the search paths below, then whatever folder the driver's
own links lead to (Debian keeps several drivers and links to one), then the folders of the driver's
entries in the root's ld.so.cache. Which machine a library is for is read from the file, never
guessed from the folder.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind import elf, ldcache
from gpubind.errors import RootEscapeError, ToolkitError, UsageError
from gpubind_cdi.lookup import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpubind.root import Root

_TRIPLETS = ("x86_64-linux-gnu", "aarch64-linux-gnu", "i386-linux-gnu")
SEARCH = (
    "/usr/lib64",
    *(f"/usr/lib/{triplet}" for triplet in _TRIPLETS),
    *(f"/usr/lib/{triplet}/nvidia/current" for triplet in _TRIPLETS),
    "/lib64",
    *(f"/lib/{triplet}" for triplet in _TRIPLETS),
    *(f"/lib/{triplet}/nvidia/current" for triplet in _TRIPLETS),
    "/usr/lib32",
    "/usr/lib",
    "/lib",
    "/run/opengl-driver/lib",  # NixOS, which has links to its store there
    "/run/opengl-driver-32/lib",
)
ANCHORS = ("libcuda.so.1", "libnvidia-ml.so.1")
CACHE = "/etc/ld.so.cache"
SIZE_LIMIT = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder without links in its name, and the names in it that may be libraries."""

    path: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library: the file itself, not a link to it. `machine` as in `elf`."""

    path: str
    folder: Folder
    base: str
    soname: str
    machine: str
    modified_ns: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A file with a library's name that is none, and why."""

    path: str
    why: str


def folders(root: Root, given: Sequence[str] = ()) -> tuple[Folder, ...]:
    """Give the folders to look in, each once; only those of `given` where there are any.

    A given one is a host name under the root or a name inside it. Raises UsageError where it is
    neither.
    """
    known: dict[str, Folder] = {}
    if given:
        for name in given:
            if not _add(root, inner(root, name), known):
                raise UsageError(
                    f"{name} is no folder in the driver root {root.path}", identifier="USE-SEARCH"
                )
        return tuple(known.values())
    for name in SEARCH:
        _add(root, name, known)
    for name in (*_anchored(root, tuple(known.values())), *cached(root, ANCHORS)):
        _add(root, name, known)
    return tuple(known.values())


def inner(root: Root, name: str) -> str:
    """Give the name inside the root of a folder given by host name, or by inner name already."""
    try:
        return root.inner(name)
    except RootEscapeError:
        return name


def subfolder(root: Root, folder: Folder, name: str) -> Folder | None:
    """Give a folder in a folder, or None."""
    known: dict[str, Folder] = {}
    _add(root, f"{folder.path}/{name}", known)
    return next(iter(known.values()), None)


def libraries(
    root: Root, places: Sequence[Folder], wanted: Callable[[str], bool]
) -> Iterator[Library | Rejected]:
    """Give the libraries whose names are wanted, folder by folder, each file once."""
    seen: set[str] = set()
    by_path = {folder.path: folder for folder in places}
    for folder in places:
        for base in sorted(filter(wanted, folder.names)):
            found = _read(root, folder, base, by_path)
            if isinstance(found, Rejected):
                yield found
            elif found is not None and found.path not in seen:
                seen.add(found.path)
                yield found


def _read(
    root: Root, folder: Folder, base: str, by_path: dict[str, Folder]
) -> Library | Rejected | None:
    """Read one file; None for a link that leads nowhere, as an upgrade may leave behind."""
    path = f"{folder.path}/{base}"
    try:
        if stat.S_ISLNK(root.lstat(path).st_mode):
            path = root.resolve(path)
        fd = root.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        return None if isinstance(error, FileNotFoundError) else Rejected(path=path, why=str(error))
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return Rejected(path=path, why="not a regular file")
        found = elf.read(fd)
    except (OSError, elf.ElfError) as error:
        return Rejected(path=path, why=str(error))
    finally:
        os.close(fd)
    home, _, base = path.rpartition("/")
    return Library(
        path=path,
        folder=by_path.get(home) or Folder(path=home or "/", names=frozenset()),
        base=base,
        soname=found.soname or base,
        machine=found.machine,
        modified_ns=status.st_mtime_ns,
        size=status.st_size,
    )


def _add(root: Root, name: str, known: dict[str, Folder]) -> bool:
    try:
        path = root.resolve(name)
        if path not in known:
            names = frozenset(base for base in root.listdir(path) if ".so" in base or base in _DEEP)
            known[path] = Folder(path=path, names=names)
    except OSError:
        return False
    return True


_DEEP = ("vdpau",)


def _anchored(root: Root, places: Sequence[Folder]) -> Iterator[str]:
    """Give the folders that the driver's best known names lead to."""
    for folder in places:
        for base in ANCHORS:
            if base in folder.names:
                file = files.find(root, f"{folder.path}/{base}")
                if file is not None:
                    yield file.path.rpartition("/")[0] or "/"


def cached(root: Root, names: Sequence[str]) -> Iterator[str]:
    """Give the folders of libraries of these names in the root's ld.so.cache."""
    try:
        entries = ldcache.read(root.read(CACHE))
    except (OSError, ToolkitError):
        return  # no cache, or one that a loader would not read either
    anchors = {os.fsencode(name) for name in names}
    for entry in entries:
        if entry.name in anchors:
            folder = os.fsdecode(entry.path).rpartition("/")[0]
            yield folder or "/"
            file = files.find(root, os.fsdecode(entry.path))
            if file is not None:
                yield file.path.rpartition("/")[0] or "/"
