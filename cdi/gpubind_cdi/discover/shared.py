# SPDX-License-Identifier: Apache-2.0
"""The driver's shared libraries, the links beside them, and the loader's entries.

A library is every `*.so.<driver version>` in the driver's folders and their vdpau/, whether the
table knows it or not, and what the table names by another pattern. Only the file itself is
mounted, so each gets a link by its SONAME, and the developer's link `.so` where the host has it.
"""

from __future__ import annotations

import fnmatch
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind_cdi import driver as drivers
from gpubind_cdi import libraries
from gpubind_cdi.discover.found import (
    READ_ONLY,
    Entry,
    Found,
    Link,
    Missing,
    Mount,
    absent,
    together,
)
from gpubind_cdi.lookup import library
from gpubind_cdi.lookup.library import Library, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpubind_cdi.driver import Driver
    from gpubind_cdi.libraries import Use

VENDOR_NEUTRAL = tuple(
    f"{name}.so*"
    for name in (
        *("libEGL", "libGL", "libGLESv1_CM", "libGLESv2", "libGLX", "libGLdispatch", "libOpenCL"),
        *("libOpenGL",),
    )
)


def discover(driver: Driver, *, vendor_neutral: bool = False) -> Found:
    """Give the driver's libraries; with `vendor_neutral` also the dispatching ones it came with."""
    wanted = _wanted(driver.version, vendor_neutral=vendor_neutral)
    found = tuple(library.libraries(driver.root, tuple(_folders(driver)), wanted))
    rejected = tuple(one for one in found if isinstance(one, Rejected))
    kept = _kept(driver, [one for one in found if isinstance(one, Library)])
    homes = tuple(dict.fromkeys(one.folder.path for one in kept if not _is_deep(one)))
    return together(
        [
            *(_described(driver, one) for one in kept),
            *_required(driver, kept, rejected),
            Found(folders=homes, missing=tuple(_refused(one) for one in rejected)),
        ]
    )


def _folders(driver: Driver) -> Iterator[library.Folder]:
    """Give the driver's folders, a vdpau/ after each that holds libraries of its version."""
    end = f".so.{driver.version}"
    for folder in driver.folders:
        yield folder
        if "vdpau" in folder.names and any(name.endswith(end) for name in folder.names):
            deeper = library.subfolder(driver.root, folder, "vdpau")
            if deeper is not None:
                yield deeper


def _wanted(version: str, *, vendor_neutral: bool) -> Callable[[str], bool]:
    end = f".so.{version}"
    patterns = {
        name: use.files for name, use in libraries.table().libraries.items() if use.files
    } | ({name: (name,) for name in VENDOR_NEUTRAL} if vendor_neutral else {})
    heads = tuple(name.partition(".so")[0] for name in patterns)
    every = tuple(pattern for row in patterns.values() for pattern in row)

    def wanted(name: str) -> bool:
        if name.endswith(end):
            return True
        return name.startswith(heads) and any(fnmatch.fnmatchcase(name, one) for one in every)

    return wanted


def _kept(driver: Driver, found: Sequence[Library]) -> list[Library]:
    """Give the libraries this machine can run; of one name and machine, the first found."""
    machines = (drivers.NATIVE.get(driver.machine, ""), drivers.COMPAT32.get(driver.machine, ""))
    kept: dict[tuple[str, str], Library] = {}
    for one in found:
        if one.machine and one.machine in machines:
            kept.setdefault((one.machine, one.base), one)
    return list(kept.values())


def use_of(driver: Driver, one: Library) -> Use:
    """Give what a library is for; a 32-bit one is for compat32 alone and never required."""
    use = libraries.table().libraries.get(libraries.stem(one.base), libraries.UNKNOWN)
    if one.machine != drivers.NATIVE.get(driver.machine):
        return replace(use, capabilities=("compat32",), required=False, why=f"{use.why}, 32-bit")
    return use


def _described(driver: Driver, one: Library) -> Found:
    use = use_of(driver, one)
    host = driver.root.outer(one.path)
    links = tuple(_links(driver, one, use))
    entry = Entry(
        path=f"{one.folder.path}/{one.soname}", machine=one.machine, capabilities=use.capabilities
    )
    return Found(
        mounts=(Mount(host=host, container=one.path, options=READ_ONLY, use=use),),
        links=links,
        entries=() if _is_deep(one) else (entry,),
        inputs=((host, one.modified_ns, one.size),),
    )


def _links(driver: Driver, one: Library, use: Use) -> Iterator[Link]:
    def link(name: str, target: str, why: str) -> Link:
        return Link(
            link=f"{one.folder.path}/{name}",
            target=target,
            capabilities=use.capabilities,
            why=why,
        )

    if one.soname != one.base:
        yield link(one.soname, one.base, "SONAME link")
    for extra in libraries.table().links:
        target = extra.target.format(version=driver.version)
        if extra.of == libraries.stem(one.base) and extra.link != one.base:
            yield link(extra.link, target, extra.why)
            yield from _outer_link(one, use, extra, target)
    head, dot, _ = one.soname.rpartition(".so")
    developer = head + dot
    if developer not in ("", one.soname, one.base) and _has_link(driver, one, developer):
        yield link(developer, one.soname, "developer's link")


def _outer_link(one: Library, use: Use, extra: libraries.Extra, target: str) -> Iterator[Link]:
    """Give the link again in the folder above nvidia/, where a program looks for plug-ins.

    Debian keeps the driver in <libraries>/nvidia/current; GBM looks in <libraries>/gbm.
    """
    above, nvidia, below = one.folder.path.partition("/nvidia/")
    if nvidia and target.startswith("../"):
        yield Link(
            link=f"{above}/{extra.link}",
            target=f"../nvidia/{below}/{target.removeprefix('../')}",
            capabilities=use.capabilities,
            why=extra.why,
        )


def _has_link(driver: Driver, one: Library, name: str) -> bool:
    if one.folder.names and name not in one.folder.names:
        return False
    try:
        return stat.S_ISLNK(driver.root.lstat(f"{one.folder.path}/{name}").st_mode)
    except OSError:
        return False


def _is_deep(one: Library) -> bool:
    """Tell whether a library lies where the loader does not look: the vdpau folder."""
    return one.folder.path.endswith("/vdpau")


def _required(
    driver: Driver, kept: Sequence[Library], rejected: Sequence[Rejected]
) -> Iterator[Found]:
    native = drivers.NATIVE.get(driver.machine)
    present = {libraries.stem(one.base) for one in kept if one.machine == native}
    faults = {libraries.stem(one.path.rpartition("/")[2]): one.why for one in rejected}
    for name, use in libraries.table().libraries.items():
        if name not in present:
            what = name if use.files else f"{name}.{driver.version}"
            reason = faults.get(name, f"not found for {driver.machine} in {driver.root.path}")
            yield absent(what, use, reason)


def _refused(one: Rejected) -> Missing:
    return Missing(what=one.path, reason=one.why, required=False)
