# SPDX-License-Identifier: Apache-2.0
"""`gpubind system create-device-nodes`: the driver's device nodes on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpubind.errors import ToolkitError
from gpubind_ctl import options, roots
from gpubind_ctl.answer import Answer
from gpubind_ctl.system import devices, modules, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_ctl.roots import Opened
    from gpubind_ctl.system.devices import Wanted


@click.command()
@options.system_root
@options.system_dev_root
@click.option("--control-devices", is_flag=True, help="Make the control and capability nodes.")
@click.option("--gpu-devices", is_flag=True, help="Make the node of each GPU.")
@options.load_modules
@options.dry_run
@options.force
def command(
    driver_root: str,
    dev_root: str | None,
    *,
    control_devices: bool,
    gpu_devices: bool,
    load_kernel_modules: bool,
    dry_run: bool,
    force: bool,
) -> Answer:
    """Make the device nodes that the loaded driver wants, with the modes and owners it wants.

    What is right is left alone. A node that is wrong is named, and replaced with --force only.
    Exit status 3: there was one.
    """
    lines: list[str] = []
    notes: list[str] = []
    if load_kernel_modules:
        done = loaded(driver_root, dry_run=dry_run)
        lines += done.text.splitlines(keepends=True)
        notes += done.notes
    with roots.opened(driver_root, dev_root) as found:
        wanted = list(_wanted(found, control=control_devices, gpus=gpu_devices))
        made = create(found, wanted, dry_run=dry_run, force=force)
    status = 3 if made.status or notes else 0
    notes += [*found.notes, *made.notes]
    if not wanted:
        notes.append("nothing to make: see --control-devices and --gpu-devices")
    return Answer(text="".join(lines) + made.text, notes=tuple(notes), status=status)


def _wanted(found: Opened, *, control: bool, gpus: bool) -> Iterator[Wanted]:
    if control:
        yield from devices.control(found.system)
    if gpus:
        yield from devices.gpus(found.system)


def create(found: Opened, wanted: list[Wanted], *, dry_run: bool, force: bool) -> Answer:
    """Make those nodes that are not there, and with `force` those that are wrong."""
    if wanted and not devices.settings(found.system).modify and not force:
        place = found.system.outer(devices.PARAMETERS)
        note = f"{place} says ModifyDeviceFiles: 0, so nodes are left alone; --force makes them"
        return Answer(notes=(note,))
    lines, notes = [], []
    for act in nodes.plan(found.nodes, wanted):
        if act.fault and not force:
            notes.append(f"{act.fault}; --force replaces it")
            continue
        lines.append(f"{act}\n")
        if not dry_run:
            nodes.make(found.nodes, act)
    return Answer(text="".join(lines), notes=tuple(notes), status=3 if notes else 0)


def loaded(driver_root: str, *, dry_run: bool) -> Answer:
    """Load the kernel modules; only the first must be there.

    Raises ToolkitError MODULE-LOAD for that one; the others' failures are notes.
    """
    first, *others = modules.plan(driver_root)
    lines = [f"{' '.join(words)}\n" for words in (first, *others)]
    notes = []
    if not dry_run:
        modules.load(first)
        for words in others:
            try:
                modules.load(words)
            except ToolkitError as error:
                notes.append(str(error))
    return Answer(text="".join(lines), notes=tuple(notes))
