# SPDX-License-Identifier: Apache-2.0
"""Whether to look at the node again: by what a few files say, without asking the driver.

What comes and goes shows in /proc, in /dev and in the folders of libraries: the kernel module,
GPUs, MIG devices, another driver. /proc tells nobody of changes, so all is looked at every second.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubind_cdi import driver as drivers
from gpubind_cdi import signs, simulated
from gpubind_cdi.lookup import files, library

from gpubind import errors
from gpubind.errors import ToolkitError
from gpubind_plugin import looking, resources, specs, standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpubind.root import Root
    from gpubind_plugin.config import Config
    from gpubind_plugin.device import Device
    from gpubind_plugin.facts import Facts
    from gpubind_plugin.resources import Offer
    from gpubind_plugin.specs import Written

GONE = ("DRV-NOT-FOUND", "DRV-NOT-LOADED")  # errors of a driver that is not there
REASONS = {"K8S-MIG": standing.MIG, "K8S-SPECS": standing.SPECS}
FILES = (simulated.FILE, drivers.KERNEL_FILE, "/proc/driver/nvidia-caps/mig-minors")
DEPTH = 3  # of the capabilities: gpu0/mig/gi1/ci0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look gave: facts, what is offered, which specs there are, warnings.

    `present` are the PCI addresses of the GPUs that the kernel module lists, answering or not.
    """

    facts: Facts
    offer: Offer
    groups: tuple[str, ...] = ()
    present: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


def see(config: Config, *, folder: str = "") -> Seen:
    """Look at the node, and write the specs its devices are named by to `folder`.

    By default that is the configured one.

    Raises what `looking.look` and `resources.offer` raise, and ToolkitError K8S-SPECS where the
    specs can't be written.
    """
    facts = looking.look(config)
    offer = resources.offer(config, facts)
    written = _written(config, facts, folder or config.cdi_spec_dir)
    with looking.opened(facts.roots) as host:
        present = frozenset(name.lower() for name in files.listed(host.system, signs.GPUS))
    return Seen(
        facts=facts,
        offer=offer,
        groups=written.groups,
        present=present,
        warnings=(*offer.warnings, *written.warnings),
    )


def _written(config: Config, facts: Facts, folder: str) -> Written:
    try:
        return specs.write(config, facts, folder=folder)
    except (ToolkitError, OSError) as error:
        why = str(error) if isinstance(error, ToolkitError) else errors.line(error, "SYS-REFUSED")
        raise ToolkitError(
            f"the CDI specs that devices are named by can't be written: {why}",
            identifier="K8S-SPECS",
        ) from None


def mark(config: Config) -> object:
    """Give what is another value when the node is another. It never fails."""
    places = looking.roots(config)
    try:
        with looking.opened(places) as host:
            folders = library.folders(host.root)
            return (
                places,
                drivers.versions(folders),
                tuple(_stamp(host.system, name) for name in FILES),
                tuple(sorted(files.listed(host.system, signs.GPUS))),
                tuple(_below(host.system, signs.CAPABILITIES, DEPTH)),
                tuple(sorted(one for one in files.listed(host.dev_root, "/dev") if "nvid" in one)),
            )
    except OSError as error:
        return places, str(error)


def _stamp(root: Root, name: str) -> object:
    """Give what a small file says, None where there is none."""
    return files.text(root, name) or None


def _below(root: Root, folder: str, depth: int) -> Iterator[str]:
    for name in sorted(files.listed(root, folder)):
        yield f"{folder}/{name}"
        if depth:
            yield from _below(root, f"{folder}/{name}", depth - 1)


def kept(
    before: Mapping[str, tuple[Device, ...]], seen: Seen
) -> tuple[dict[str, tuple[Device, ...]], dict[str, str]]:
    """Give the resources with the devices of GPUs that were well before and can't be read now.

    Their ids come with the reason. A GPU that the kernel module does not list any more is gone.
    """
    offered = dict(seen.offer.resources)
    lost: dict[str, str] = {}
    faults = seen.facts.inventory.faults
    if not faults:
        return offered, lost
    told = {gpu.uuid for gpu in seen.facts.inventory.gpus}
    why = "; ".join(sorted({fault.message for fault in faults}))
    for name, devices in before.items():
        missing = [one for one in devices if one.gpu_uuid not in told and one.pci in seen.present]
        if missing:
            lost |= dict.fromkeys((one.id for one in missing), why)
            everything = (*offered.get(name, ()), *missing)
            offered[name] = tuple(sorted(everything, key=resources.order))
    return offered, lost


def trouble(error: Exception, kernel: str = drivers.KERNEL_FILE) -> tuple[str, str]:
    """Give the reason and the line for a look that failed; the file `kernel` is a loaded module."""
    if not isinstance(error, ToolkitError):
        return standing.DRIVER, errors.line(error, "SYS-REFUSED")
    if error.identifier not in GONE:
        return REASONS.get(error.identifier, standing.DRIVER), str(error)
    if error.identifier == "DRV-NOT-FOUND" and os.path.exists(kernel):
        hint = (
            "the kernel module is loaded: is the host's driver mounted here, or given by a class?"
        )
        return standing.NO_LIBRARY, f"{error}; {hint}"
    return standing.NO_DRIVER, str(error)
