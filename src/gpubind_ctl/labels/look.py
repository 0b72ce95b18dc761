# SPDX-License-Identifier: Apache-2.0
"""One look at a node: its driver and GPUs, and what the kernel says of their place on the bus."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpubind_cdi import inventory
from gpubind_cdi.lookup import files

from gpubind.errors import DocumentError
from gpubind_ctl import inputs, roots, sources
from gpubind_ctl.labels import vgpu

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubind.root import Root

NVIDIA = "0x10de"
DEVICES = "/sys/bus/pci/devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is there now.

    `classes` has the PCI class of a GPU's address, such as `0x030200`. `hosts` has what each
    NVIDIA device says of a machine below this one, None for one that is not virtual; it is None
    itself where that can't be read. `notes` say what is not as it should be.
    """

    inventory: inventory.Inventory
    classes: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[vgpu.Host | None, ...] | None = ()
    machine: str = ""
    notes: tuple[str, ...] = ()


def look(driver_root: str, dev_root: str | None, machine_file: str) -> Facts:
    """Give what is there.

    Raises ToolkitError as `gpubind_cdi.nvml_process.source` where there is no driver or it does
    not answer, OSError where a root can't be opened.
    """
    with roots.opened(driver_root, dev_root) as found:
        source = sources.of(found.driver, (), found.nodes)
        known = inventory.Inventory(
            driver=source.driver_version(),
            cuda=source.cuda_version(),
            gpus=tuple(source.gpus()),
            faults=tuple(source.faults()),
        )
        classes = {gpu.pci: _class(found.system, gpu.pci) for gpu in known.gpus if gpu.pci}
        return _facts(known, classes, found.system, machine_file, found.notes)


def nothing(reason: str) -> Facts:
    """Give the facts of a node whose driver said nothing."""
    empty = inventory.Inventory(driver="", cuda="", gpus=())
    return Facts(inventory=empty, hosts=None, notes=(f"no GPUs: {reason}",))


def _facts(
    known: inventory.Inventory,
    classes: Mapping[str, str],
    system: Root,
    machine_file: str,
    notes: tuple[str, ...],
) -> Facts:
    machine, machine_note = _machine(machine_file)
    hosts = _hosts(system)
    blind = "vgpu labels are left out: PCI configuration space can only be read whole by root"
    faults = (f"{fault.what}: {fault.message}" for fault in known.faults)
    said = (*notes, *faults, machine_note, blind if hosts is None else "")
    return Facts(
        inventory=known,
        classes=classes,
        hosts=hosts,
        machine=machine,
        notes=tuple(filter(None, said)),
    )


def _class(system: Root, address: str) -> str:
    return files.text(system, f"{DEVICES}/{address}/class").strip()


def _hosts(system: Root) -> tuple[vgpu.Host | None, ...] | None:
    """Give what each NVIDIA device on the bus says, None where one can't be read whole."""
    found = []
    for address in files.listed(system, DEVICES):
        folder = f"{DEVICES}/{address}"
        if files.text(system, f"{folder}/vendor").strip() != NVIDIA:
            continue
        space = b""
        with contextlib.suppress(OSError):
            space = system.read(f"{folder}/config")
        if len(space) < vgpu.SPACE:
            return None
        found.append(vgpu.host(space))
    return tuple(found)


def _machine(name: str) -> tuple[str, str]:
    """Give what the machine calls itself, empty where that is unknown, and why it is."""
    if not name:
        return "", ""
    try:
        return inputs.read(name).decode("utf-8", "replace").strip(), ""
    except (OSError, DocumentError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return "", f"the machine's type is unknown: {name}: {reason}"
