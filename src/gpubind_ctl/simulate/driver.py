# SPDX-License-Identifier: Apache-2.0
"""What the driver's packages install on a simulated node: libraries, programs, data, sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind_ctl.simulate import elf
from gpubind_ctl.simulate.elfformat import Machine
from gpubind_ctl.simulate.entries import Entry, File, Folder, Link, Socket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_ctl.simulate.profile import Library, Profile

# Debian's library folders; the tree is merged below /usr as on every current distribution.
FOLDERS = {
    Machine.X86_64: "/usr/lib/x86_64-linux-gnu",
    Machine.AARCH64: "/usr/lib/aarch64-linux-gnu",
    Machine.I386: "/usr/lib/i386-linux-gnu",
}
MERGED = (
    Link(path="/bin", target="usr/bin"),
    Link(path="/lib", target="usr/lib"),
    Link(path="/lib64", target="usr/lib64"),
    Link(path="/sbin", target="usr/sbin"),
    Link(path="/var/run", target="/run"),
    Folder(path="/usr/bin"),
    Folder(path="/usr/lib"),
    Folder(path="/usr/lib64"),
    Folder(path="/usr/sbin"),
    Folder(path="/run"),
)


# Where a driver in a folder of its own has what is below these folders otherwise.
MOVED = (
    *((folder, "/lib64") for folder in FOLDERS.values()),
    ("/usr/bin", "/bin"),
    ("/usr/lib/firmware", "/firmware"),
    ("/usr/share/vulkan", "/vulkan"),
    ("/usr/share", "/share"),
    ("/etc", "/etc"),
)


def plan(profile: Profile) -> Iterator[Entry]:
    """Give all that the packages of `profile` install."""
    yield from MERGED
    for entry in _installed(profile):
        yield replace(entry, path=_moved(entry.path, profile.prefix)) if profile.prefix else entry


def _moved(path: str, prefix: str) -> str:
    """Give where a driver with a prefix has a file; a socket stays where its daemon listens."""
    for folder, place in MOVED:
        if path.startswith(f"{folder}/"):
            return f"{prefix}{place}{path.removeprefix(folder)}"
    return path


def _installed(profile: Profile) -> Iterator[Entry]:
    machines = (profile.machine, *((Machine.I386,) if profile.i386 else ()))
    for machine in machines:
        for library in profile.files.libraries:
            if library.i386 or machine is profile.machine:
                yield from _library(profile, machine, library)
    folder = FOLDERS[profile.machine]
    for name, target in profile.files.links.items():
        yield Link(path=f"{folder}/{name}", target=target)
    for path in profile.files.binaries:
        yield _binary(profile, path, f"{path}: {_NOTE}\n")
    for path in profile.listings:
        yield _binary(profile, path, listing(profile))
    for path, text in profile.files.texts.items():
        yield File(path=path, data=text.encode())
    for name in profile.firmware:
        text = f"gpubind simulated firmware {name} {profile.version}\n"
        yield File(path=f"/usr/lib/firmware/nvidia/{profile.version}/{name}", data=text.encode())
    for path in profile.files.sockets:
        yield Socket(path=path)


_NOTE = "simulated by gpubind, does nothing"


def listing(profile: Profile) -> str:
    """Give what the simulated nvidia-smi prints: the GPUs as they were when the node was made."""
    lines = [
        f"Simulated node {profile.name}, laid out by gpubind: driver {profile.version}, "
        f"CUDA {profile.cuda}. The list is fixed; it does not show what this container may use."
    ]
    for gpu in profile.gpus:
        lines.append(f"GPU {gpu.index}: {gpu.name} (UUID: {gpu.uuid})")
        lines += [
            f"  MIG {mig.profile:<12} Device {mig.index:>2}: (UUID: {mig.uuid})"
            for mig in gpu.instances
        ]
    return "\n".join(lines) + "\n"


def _binary(profile: Profile, path: str, text: str) -> File:
    return File(path=path, data=elf.program(profile.machine, text), mode=0o755)


def _library(profile: Profile, machine: Machine, library: Library) -> Iterator[Entry]:
    """Give a library's file, the link named by its SONAME and the links to that."""
    file = library.file
    path = file if file.startswith("/") else f"{FOLDERS[machine]}/{file}"
    folder, file = path.rsplit("/", 1)
    text = f"{file} {machine}, driver {profile.version}: {_NOTE}"
    yield File(path=path, data=elf.library(machine, library.soname, text, library.needs))
    if library.linked and library.soname != file:
        yield Link(path=f"{folder}/{library.soname}", target=file)
    for link in library.links:
        yield Link(path=f"{folder}/{link}", target=_link_target(link, library.soname, file))


def _link_target(link: str, soname: str, file: str) -> str:
    """Give what a driver's installer points `link` at: the SONAME if it is a part of it."""
    return soname if soname.startswith(f"{link}.") else file
