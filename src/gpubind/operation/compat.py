# SPDX-License-Identifier: Apache-2.0
"""CUDA forward compatibility: an image's newer libcuda on an older driver, where that may be.

An image carries its own user-mode driver in /usr/local/cuda/compat. Whether it works on the host's
kernel driver is said by a note in its libcuda (`.note.cuda.fwd_compatibility`), or without one by
the versions. It is made known to the container's loader, before the host's; nothing is mounted.
"""

from __future__ import annotations

import os
import stat

from gpubind import elf, folder, ldcache, ldsoconf
from gpubind.errors import DocumentError, UsageError
from gpubind.oci import codec

NAME = "enable-cuda-compat"
OPTIONS = ("--host-driver-version", "--host-cuda-version", "--cuda-compat-container-root")
FOLDER = "/usr/local/cuda/compat"
DROP_IN = "/etc/ld.so.conf.d/00-compat-gpubind.conf"
SECTION = ".note.cuda.fwd_compatibility"
OWNER = b"NVIDIA Corporation"
MAX_FILES = 256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.root import Root


class CudaCompat:
    """Prefer the libraries in `folder` where they fit the host's `driver` and `cuda` versions."""

    __slots__ = ("cuda", "driver", "folder")
    required = False

    def __init__(self, driver: str, cuda: str, folder: str = FOLDER) -> None:
        self.driver = driver
        self.cuda = cuda
        self.folder = folder

    def __str__(self) -> str:
        return f"prefer CUDA libraries of {self.folder} if they fit driver {self.driver}"

    def writes(self) -> tuple[str, ...]:
        """Give the inner names this changes."""
        return (DROP_IN, self.folder)

    def words(self) -> list[str]:
        """Give the hook's words for this."""
        values = (self.driver, self.cuda, "" if self.folder == FOLDER else self.folder)
        pairs = zip(OPTIONS, values, strict=True)
        return [NAME, *(word for option, value in pairs if value for word in (option, value))]

    def do(self, root: Root, done: list[str], notes: list[str]) -> list[ldcache.Entry]:
        """Write or withdraw the drop-in; give the loader's entries that come before all others.

        What is wrong with the image's libraries is a note, not an error. Raises OSError.
        """
        entries: list[ldcache.Entry] = []
        place = _place(root, self.folder)
        if place and self._is_used(root, place, notes):
            entries = _entries(root, place)
        try:
            data = ldsoconf.drop_in([os.fsencode(place)]) if entries else b""
        except DocumentError as error:
            notes.append(f"{place} is not used: {error}")
            data, entries = b"", []
        if data:
            _put(root, data, done)
        elif root.exists(DROP_IN):
            _withdraw(root, done)
        return entries

    def _is_used(self, root: Root, place: str, notes: list[str]) -> bool:
        found = [name for name in _files(root, place) if _version_in(name)]
        if len(found) != 1:
            if found:
                notes.append(f"{place} has several libcuda, none used: {', '.join(found[:4])}")
            return False
        fd = root.open(f"{place}/{found[0]}")
        try:
            text = elf.note(fd, SECTION, OWNER)
            return fits(_version_in(found[0]), self.driver, self.cuda, _facts(text))
        except (elf.ElfError, DocumentError) as error:
            notes.append(f"{place}/{found[0]} is not used: {error}")
            return False
        finally:
            os.close(fd)


def parse(options: list[tuple[str, str]]) -> list[CudaCompat]:
    """Give the operation of the hook's options; nothing where no version of the host is given."""
    given = dict(options)
    place = given.get(OPTIONS[2]) or FOLDER
    if not place.startswith("/"):
        raise UsageError(f"{NAME}: {place!r} is not absolute", identifier="ARG-VALUE")
    if not given.get(OPTIONS[0]) and not given.get(OPTIONS[1]):
        return []
    return [CudaCompat(given.get(OPTIONS[0], ""), given.get(OPTIONS[1], ""), place)]


def fits(compat: str, driver: str, cuda: str, facts: dict[str, object] | None) -> bool:
    """Tell whether an image's libcuda of version `compat` works on a host and is newer. Pure.

    `driver` and `cuda` are the host's versions, empty where unknown; `facts` is what the library's
    note says: the branches of kernel drivers it works on and its CUDA version.
    """
    own, host = numbers(compat), numbers(driver)
    if facts is None:
        return not cuda and bool(own and host) and host[0] < own[0]
    if own and host:
        branches = facts.get("Driver")
        return isinstance(branches, list) and host[0] in branches and own > host
    version = facts.get("CUDA Version")
    wanted, known = numbers(version if isinstance(version, str) else ""), numbers(cuda)
    return bool(wanted and known) and wanted > known


def numbers(version: str) -> tuple[int, ...]:
    """Give a dotted version's numbers, () where it is no version."""
    parts = version.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        return ()
    return tuple(map(int, parts))


def _facts(text: bytes | None) -> dict[str, object] | None:
    if text is None:
        return None
    value = codec.decode(text.rstrip(b"\0"), f"note {SECTION}")
    if not isinstance(value, dict) or value.get("Format") != 1:
        raise DocumentError("unknown format", file=f"note {SECTION}")
    return value


def _place(root: Root, name: str) -> str:
    """Give the folder's final inner name, empty where there is none."""
    try:
        place = root.resolve(name)
        return place if stat.S_ISDIR(root.stat(place).st_mode) else ""
    except OSError:
        return ""


def _files(root: Root, place: str) -> list[str]:
    """Give the names of the regular files, at most MAX_FILES of them."""
    names = [name for name in root.listdir(place) if name.startswith("lib") and ".so" in name]
    return [name for name in names[:MAX_FILES] if _is_file(root, f"{place}/{name}")]


def _is_file(root: Root, name: str) -> bool:
    return stat.S_ISREG(root.lstat(name).st_mode)


def _version_in(name: str) -> str:
    """Give the version of a `libcuda.so.VERSION` with at least one dot, else nothing."""
    version = name.removeprefix("libcuda.so.")
    return version if version != name and len(numbers(version)) > 1 else ""


def _entries(root: Root, place: str) -> list[ldcache.Entry]:
    """Give the loader's entries for the folder's libraries of this machine."""
    machine = "aarch64" if os.uname().machine == "aarch64" else "x86-64"
    entries = []
    for name in _files(root, place):
        fd = root.open(f"{place}/{name}")
        try:
            known = elf.read(fd)
        except elf.ElfError:
            continue
        finally:
            os.close(fd)
        if known.machine == machine and known.soname:
            base = known.soname if root.exists(f"{place}/{known.soname}") else name
            path = os.fsencode(f"{place}/{base}")
            entries.append(ldcache.Entry(known.soname.encode(), path, ldcache.FLAGS[machine]))
    return entries


def _put(root: Root, data: bytes, done: list[str]) -> None:
    head, _, base = DROP_IN.rpartition("/")
    try:
        if root.read(DROP_IN) == data:
            return
    except OSError:
        pass  # absent, or not a file: replaced
    parent = root.make_folders(head, own=True)
    try:
        folder.write(parent, base, data)
    finally:
        os.close(parent)
    done.append(f"write {base}")


def _withdraw(root: Root, done: list[str]) -> None:
    head, _, base = DROP_IN.rpartition("/")
    parent = root.open(head, os.O_PATH | os.O_DIRECTORY)
    try:
        os.unlink(base, dir_fd=parent)
    finally:
        os.close(parent)
    done.append(f"remove {base}")
