# SPDX-License-Identifier: Apache-2.0
"""The profiles: which machines can be simulated, read from the data files beside this module."""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from typing import Any

from gpubind.errors import UsageError
from gpubind_ctl.simulate.elfformat import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the PCI bus and the kernel show of one GPU; ids are hexadecimal text.

    `below` is version and branch of the driver on the host of a virtual GPU.
    """

    device: str
    pci_class: str
    video_bios: str
    numa_node: int
    card: int
    render: int
    below: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A MIG device: its index below its GPU, its GPU instance and compute instance."""

    index: int
    uuid: str
    gi: int
    ci: int
    profile: str
    memory: int = 0
    size: dict[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; `minor` is the N of /dev/nvidiaN and often differs from `index`.

    `coherent` is whether it shares the CPU's page tables, `memory` its bytes, `clique` those it
    shares NVLink memory with.
    """

    index: int
    uuid: str
    minor: int
    pci: str
    name: str
    brand: str
    architecture: str
    hardware: Hardware
    mig_enabled: bool
    instances: tuple[Instance, ...]
    coherent: bool = False
    memory: int = 0
    clique: str = ""
    mig_capable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A shared library: its file, SONAME, further links, what it needs.

    The file is named below the library folder, or by its absolute path. `linked` is whether it
    has a link by its SONAME.
    """

    file: str
    soname: str
    links: tuple[str, ...]
    needs: tuple[str, ...]
    i386: bool
    linked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What the profile's groups install; `links` maps names below the library folder to targets."""

    libraries: tuple[Library, ...]
    links: dict[str, str]
    binaries: tuple[str, ...]
    texts: dict[str, str]
    sockets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A machine; `built` is its driver's date, ISO 8601 in UTC, `i386` adds 32-bit files.

    A driver with a `prefix` is in a folder of its own, as Google's COS has it.
    `switches` counts its NVSwitches, `storage_nodes` the nodes of GPUDirect Storage, `adapters`
    those of InfiniBand, `imex_channels` the channels to GPUs of other machines. `platform` is
    empty for a machine with a PCI bus, else one of `embedded`, which has `nodes`; `listings` are
    the places of nvidia-smi. `topology` has the groups of GPUs, by UUID, whose paths to each other
    are what nvidia-smi's word says, `NV4` for those that so many NVLinks join; the rest are `SYS`.
    """

    name: str
    summary: str
    machine: Machine
    prefix: str
    version: str
    cuda: str
    built: str
    i386: bool
    switches: int
    storage_nodes: int
    adapters: int
    gdrcopy: bool
    imex_channels: int
    firmware: tuple[str, ...]
    platform: str
    nodes: tuple[str, ...]
    listings: tuple[str, ...]
    gpus: tuple[Gpu, ...]
    topology: dict[str, list[set[str]]]
    files: Files


def names() -> list[str]:
    """Give the names of all profiles, sorted."""
    entries = (importlib.resources.files(__package__) / "profiles").iterdir()
    return sorted(entry.name[:-5] for entry in entries if entry.name.endswith(".json"))


_COUNTS = ("switches", "storage_nodes", "adapters", "gdrcopy", "imex_channels")


def load(name: str, version: str = "", cuda: str = "") -> Profile:
    """Give the profile called `name`, with another driver where `version` or `cuda` say so.

    Raises UsageError naming all profiles where there is none.
    """
    known = names()
    if name not in known:
        raise UsageError(
            f"no profile is called {name!r}",
            identifier="SIM-PROFILE",
            hint=f"choose one of {', '.join(known)}",
        )
    document = _read(f"profiles/{name}.json")
    driver = document["driver"]
    version = version or driver["version"]
    return Profile(
        name=name,
        summary=document["summary"],
        machine=Machine(document["machine"]),
        prefix=document.get("prefix", ""),
        version=version,
        cuda=cuda or driver["cuda"],
        built=driver["built"],
        i386=document.get("i386", False),
        **{name: document.get(name, 0) for name in _COUNTS},
        firmware=tuple(document["firmware"]),
        platform=document.get("platform", ""),
        nodes=tuple(document.get("nodes", ())),
        listings=tuple(document.get("listings", ("/usr/bin/nvidia-smi",))),
        gpus=tuple(_gpu(gpu) for gpu in document["gpus"]),
        topology=_topology(document),
        files=_files(document["groups"], version),
    )


def _read(path: str) -> Any:
    return json.loads((importlib.resources.files(__package__) / path).read_bytes())


def _topology(document: dict[str, Any]) -> dict[str, list[set[str]]]:
    uuids = {gpu["index"]: gpu["uuid"] for gpu in document["gpus"]}
    groups = document.get("topology", {}).items()
    return {word: [{uuids[index] for index in one} for one in each] for word, each in groups}


_NO_BUS = {"device": "", "class": "", "video_bios": "", "numa_node": -1, "card": 0, "render": 128}


def _gpu(document: dict[str, Any]) -> Gpu:
    hardware = dict(document.get("hardware", _NO_BUS))
    mig = document["mig"]
    plain = {key: value for key, value in document.items() if key not in {"hardware", "mig"}}
    return Gpu(
        **plain,
        hardware=Hardware(pci_class=hardware.pop("class"), **hardware),
        mig_enabled=mig["enabled"],
        mig_capable=mig.get("capable", mig["enabled"]),
        instances=tuple(Instance(**instance) for instance in mig["instances"]),
    )


def _files(groups: list[str], version: str) -> Files:
    table = _read("driver.json")
    rows = [table[group] for group in groups]

    def named(text: str) -> str:
        return text.replace("@VERSION@", version)

    return Files(
        libraries=tuple(
            _library(library, version)
            for row in rows
            for library in row["libraries"]
            if _shipped(library, version)
        ),
        links={name: target for row in rows for name, target in row["links"].items()},
        binaries=tuple(binary for row in rows for binary in row["binaries"]),
        texts={named(path): text for row in rows for path, text in row["texts"].items()},
        sockets=tuple(socket for row in rows for socket in row["sockets"]),
    )


def _library(row: dict[str, Any], version: str) -> Library:
    file = row["file"].replace("@VERSION@", version)
    return Library(
        file=file,
        soname=row.get("soname", file.rsplit("/", 1)[-1]),
        links=tuple(row.get("links", ())),
        needs=tuple(name.replace("@VERSION@", version) for name in row.get("needs", ())),
        i386=row.get("i386", False),
        linked=row.get("linked", True),
    )


def _shipped(row: dict[str, Any], version: str) -> bool:
    """Tell whether a driver of this version has the library: from `since` on, before `until`."""
    branch = int(version.split(".", 1)[0])
    return int(row.get("since", 0)) <= branch < int(row.get("until", branch + 1))
