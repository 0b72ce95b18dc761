# SPDX-License-Identifier: Apache-2.0
"""What a Tegra's lists name, as it is found: device nodes, folders, files and links.

A list is for every board of a family, so what it names and is not there is no fault. Links are
followed inside the driver root, each of them is made in the container, and what they end at is
mounted. Nodes are given to every container, for who needs which is known to nobody but the list;
files of the table in libraries.yaml go by driver capability as everywhere.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpubind_cdi import libraries, mountspec
from gpubind_cdi.discover import nodes as device_nodes
from gpubind_cdi.discover.found import (
    READ_ONLY,
    Entry,
    Found,
    Link,
    absent,
    mounted,
    together,
)
from gpubind_cdi.libraries import Use
from gpubind_cdi.lookup import library
from gpubind_cdi.lookup.files import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gpubind.root import Root

MAX_LINKS = 40  # what the kernel allows, see path_resolution(7)
RELEASE = "/etc/nv_tegra_release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The links a name goes through, each with its text, and the name of what they end at."""

    links: tuple[tuple[str, str], ...]
    end: str


def nodes(dev_root: Root, entries: Sequence[mountspec.Entry]) -> Found:
    """Give the character devices that the lists' `dev` lines stand for below the root of /dev."""
    return together(
        part for one in entries if one.kind == mountspec.DEVICE for part in _nodes(dev_root, one)
    )


def _nodes(dev_root: Root, entry: mountspec.Entry) -> Iterator[Found]:
    use = Use(why=f"listed in {entry.place}")
    names = list(mountspec.globbed(dev_root, entry.path))
    for name in names:
        found = device_nodes.node(dev_root, name, use)
        yield found if found.nodes else _awaited(found, dev_root, name)
    if not names:
        yield absent(entry.path, use)


def files(
    root: Root,
    entries: Sequence[mountspec.Entry],
    is_ignored: Callable[[str], bool] = lambda _: False,
    search: Sequence[str] = (),
) -> Found:
    """Give what the lists' other lines name; `is_ignored` tells of a link whether it is unwanted.

    `search` are folders that a list's libraries are looked for below, before the root itself.
    """
    return together(
        _found(root, one, search)
        for one in entries
        if one.kind != mountspec.DEVICE
        and not (one.kind == mountspec.LINK and is_ignored(one.path))
    )


def release(root: Root) -> Found:
    """Give the file that says which release of L4T this is; images look for it."""
    entry = mountspec.Entry(kind=mountspec.FILE, path=RELEASE, place="every Tegra")
    return _found(root, entry, ())


def _found(root: Root, entry: mountspec.Entry, search: Sequence[str]) -> Found:
    is_library = entry.kind == mountspec.FILE
    found = Found()
    for prefix in (*(search if is_library else ()), ""):
        found = _below(root, entry, prefix.rstrip("/"))
        if found.mounts:
            break
    return found


def _below(root: Root, entry: mountspec.Entry, prefix: str) -> Found:
    use = Use(why=f"listed in {entry.place}")
    try:
        chain = followed(root, prefix + entry.path)
        status = root.stat(chain.end)
        path = root.resolve(chain.end)
    except OSError as error:
        found = absent(entry.path, use, (error.strerror or "not found").lower())
        return _awaited(found, root, prefix + entry.path)
    fault = _unfit(entry.kind, status.st_mode)
    if fault:
        return absent(entry.path, use, fault)
    place = chain.end.removeprefix(prefix)
    use = replace(use, capabilities=libraries.capabilities_of(place))
    file = File(name=chain.end, path=path, status=status)
    links = ((name.removeprefix(prefix), text) for name, text in chain.links)
    return together(
        [
            _linked(links, use, use.why),
            mounted(root, file, place, use, READ_ONLY),
            *_loaded(root, path, place, use),
        ]
    )


def _awaited(found: Found, root: Root, name: str) -> Found:
    """Give what was not found so that it is looked for again where it comes."""
    return replace(found, inputs=((root.outer(name), 0, 0),))


def _linked(pairs: Iterable[tuple[str, str]], use: Use, why: str) -> Found:
    """Give links of these names and texts."""
    return Found(
        links=tuple(
            Link(link=link, target=text, capabilities=use.capabilities, why=why)
            for link, text in pairs
        )
    )


def followed(root: Root, name: str) -> Chain:
    """Follow a name link by link inside a root. Raises OSError, ELOOP for a circle."""
    links: list[tuple[str, str]] = []
    while stat.S_ISLNK(root.lstat(name).st_mode):
        if len(links) == MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        text = root.readlink(name)
        links.append((name, text))
        name = _end(root, name, text)
    return Chain(links=tuple(links), end=name)


def _end(root: Root, name: str, text: str) -> str:
    """Give the name a link's text stands for, its folder without links."""
    joined = text if text.startswith("/") else f"{name.rpartition('/')[0]}/{text}"
    head, _, base = joined.rpartition("/")
    if base in ("", ".", ".."):
        return root.resolve(joined)
    return f"{root.resolve(head or '/').rstrip('/')}/{base}"


def _unfit(kind: str, mode: int) -> str:
    """Say why something can't be mounted for a line of this kind, nothing where it can."""
    if kind == mountspec.FOLDER_OF_FILES:
        return "" if stat.S_ISDIR(mode) else "not a folder"
    if stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and kind == mountspec.LINK):
        return ""
    return "not a regular file"


def _loaded(root: Root, path: str, place: str, use: Use) -> Iterator[Found]:
    """Give what the loader needs for a shared library: its entry, and a link by its SONAME."""
    head, _, base = path.rpartition("/")
    folder, _, name = place.rpartition("/")
    if not name.startswith("lib") or ".so" not in name:
        return
    where = library.Folder(path=head, names=frozenset((base,)))
    for one in library.libraries(root, (where,), lambda _: True):
        if isinstance(one, library.Library) and one.machine:
            path = f"{folder}/{one.soname}"
            entry = Entry(path=path, machine=one.machine, capabilities=use.capabilities)
            yield Found(entries=(entry,), folders=(folder,))
            if one.soname != name:
                yield _linked([(path, name)], use, "SONAME link")
            others = ((f"{folder}/{other}", one.soname) for other in _developers(root, one))
            yield _linked(others, use, "developer's link")


def _developers(root: Root, one: library.Library) -> Iterator[str]:
    """Give the name without a version by which a library is linked, where the host has it."""
    head, dot, version = one.soname.partition(".so")
    name = head + dot
    try:
        if version and stat.S_ISLNK(root.lstat(f"{one.folder.path}/{name}").st_mode):
            yield name
    except OSError:
        return
