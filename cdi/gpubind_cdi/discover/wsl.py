# SPDX-License-Identifier: Apache-2.0
"""The driver of a WSL2 machine: Windows lends its driver store, and the kernel one node.

Windows keeps every driver it ever installed in a folder of its own, and shows them all below
/usr/lib/wsl/drivers; what it hands to Linux it copies to /usr/lib/wsl/lib. Which of several stores
is in use only libdxcore could say, and no library of a driver is loaded here: it is the one whose
files are those copies, else NVIDIA's newest.
"""

from __future__ import annotations

import fnmatch
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind.errors import ToolkitError
from gpubind_cdi import driver as drivers
from gpubind_cdi import libraries
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
from gpubind_cdi.lookup import files, library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind.root import Root

STORES = "/usr/lib/wsl/drivers"
LENT = "/usr/lib/wsl/lib"
CUDA = "libcuda.so.1.1"
DXCORE = "libdxcore.so"
NODE = "/dev/dxg"
SMI = "nvidia-smi"
NEEDED = (
    *(CUDA, "libcuda_loader.so", "libnvidia-ptxjitcompiler.so.1", "libnvidia-ml.so.1"),
    *("libnvidia-ml_loader.so", "libnvdxgdmal.so.1", "nvcubins.bin", SMI),
)
MORE = ("*.so*", "*.bin", "*.dll")

# What Windows copies for Linux, and what the copy is called there.
COPIES = ((SMI, SMI), ("libcuda_loader.so", CUDA), ("libnvidia-ml_loader.so", "libnvidia-ml.so.1"))
MAX_COMPARED = 64 << 20
MAX_STORES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A driver's folder in the Windows driver store, and why it is this one."""

    path: str
    why: str


def store(root: Root) -> Store:
    """Give the driver store that is in use. Raises ToolkitError where there is none of NVIDIA's."""
    folders = [f"{STORES}/{name}" for name in files.listed(root, STORES)[:MAX_STORES]]
    found = [one for one in folders if files.find(root, f"{one}/{CUDA}")]
    if not found:
        raise ToolkitError(
            f"no NVIDIA driver in {root.outer(STORES)}: no folder there has {CUDA}",
            identifier="WSL-STORE",
            hint="install NVIDIA's driver on Windows, then run 'wsl --shutdown'",
        )
    if len(found) == 1:
        return Store(path=found[0], why=f"the only one with {CUDA}")
    best = max(found, key=lambda one: _rank(root, one))
    same, nvidia, _, _ = _rank(root, best)
    reason = f"{len(found)} have {CUDA}"
    if same:
        return Store(path=best, why=f"{reason}, this one's files are those in {root.outer(LENT)}")
    newest = "NVIDIA's newest" if nvidia else "the newest"
    return Store(path=best, why=f"{reason}, this one is {newest}")


def looked_at(root: Root) -> Found:
    """Give what the choice of a store depends on, as inputs: Windows may change any of it."""
    copies = (f"{LENT}/{copy}" for _, copy in COPIES)
    return Found(inputs=tuple((root.outer(name), 0, 0) for name in (STORES, LENT, *copies)))


def _rank(root: Root, folder: str) -> tuple[int, bool, int, str]:
    """Say how much speaks for a store: equal copies, NVIDIA's name for it, the time of its libcuda.

    NVIDIA's own are called nv<something>.inf_<machine>_<hash>; others bundle what they got once.
    """
    equal = sum(_is_same(root, f"{folder}/{inner}", f"{LENT}/{copy}") for inner, copy in COPIES)
    cuda = files.find(root, f"{folder}/{CUDA}")
    base = folder.rpartition("/")[2]
    return equal, base.startswith("nv"), cuda.status.st_mtime_ns if cuda else 0, base


def _is_same(root: Root, one: str, other: str) -> bool:
    """Tell whether two regular files hold the same bytes."""
    first, second = files.find(root, one), files.find(root, other)
    if first is None or second is None or first.status.st_size != second.status.st_size:
        return False
    try:
        return root.read(one, MAX_COMPARED) == root.read(other, MAX_COMPARED)
    except OSError:
        return False


def driver_files(root: Root, folder: str, machine: str) -> Found:
    """Give the files of a driver store, each at its place; `machine` is as uname(2) gives it."""
    return together(_driver_files(root, folder, machine))


def _driver_files(root: Root, folder: str, machine: str) -> Iterator[Found]:
    names = files.listed(root, folder)
    others = (name for name in names if any(fnmatch.fnmatchcase(name, one) for one in MORE))
    for name in dict.fromkeys((*NEEDED, *others)):
        known = name in NEEDED
        use = Use(
            capabilities=libraries.capabilities_of(name.replace("_loader.", ".")),
            required=name == CUDA,
            why="NVIDIA's driver for WSL" if known else "beside NVIDIA's driver for WSL",
        )
        file = files.find(root, f"{folder}/{name}")
        if file is None:
            yield absent(f"{folder}/{name}", use)
            continue
        yield mounted(root, file, file.name, use, READ_ONLY)
        yield _loaded(root, folder, name, machine, use)
    if SMI in names:
        use = libraries.table().binaries.get(SMI, libraries.UNKNOWN)
        link = Link(
            link=f"/usr/bin/{SMI}",
            target=f"{folder}/{SMI}",
            capabilities=use.capabilities,
            why="where programs look for it",
        )
        yield Found(links=(link,))


def dxcore(root: Root, machine: str) -> Found:
    """Give the library that speaks to /dev/dxg, from where Windows puts it or the loader knows."""
    use = Use(required=True, why="speaks to the GPU on WSL", hint="run 'wsl --update' on Windows")
    for folder in dict.fromkeys((LENT, *library.SEARCH, *library.cached(root, (DXCORE,)))):
        file = files.find(root, f"{folder}/{DXCORE}")
        if file is not None:
            loaded = _loaded(root, folder, DXCORE, machine, use)
            return together([mounted(root, file, file.name, use, READ_ONLY), loaded])
    return absent(DXCORE, use, f"not found in {root.outer(LENT)}")


def _loaded(root: Root, folder: str, name: str, machine: str, use: Use) -> Found:
    """Give the loader's entry of a library of this machine, and its link by its SONAME."""
    if ".so" not in name:
        return Found()
    where = library.Folder(path=folder, names=frozenset((name,)))
    for one in library.libraries(root, (where,), lambda _: True):
        if isinstance(one, library.Library) and one.machine == drivers.NATIVE.get(machine):
            path = f"{folder}/{one.soname}"
            entry = Entry(path=path, machine=one.machine, capabilities=use.capabilities)
            if one.soname == name or root.exists(path):
                return Found(entries=(entry,), folders=(folder,))
            link = Link(link=path, target=name, capabilities=use.capabilities, why="SONAME link")
            return Found(links=(link,), entries=(entry,), folders=(folder,))
    return Found()


def nodes(dev_root: Root) -> Found:
    """Give the one node all GPUs are reached through."""
    use = Use(required=True, why="all GPUs of a WSL2 machine")
    return device_nodes.node(dev_root, NODE, use)


def is_there(root: Root, dev_root: Root, machine: str) -> bool:
    """Tell whether this is a WSL2 machine with GPUs: the kernel's node and Windows's library."""
    try:
        if not stat.S_ISCHR(dev_root.stat(NODE).st_mode):
            return False
    except OSError:
        return False
    return bool(dxcore(root, machine).mounts)
