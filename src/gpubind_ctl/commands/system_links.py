# SPDX-License-Identifier: Apache-2.0
"""`gpubind system create-dev-char-symlinks`: links by number to the driver's device nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from gpubind_cdi import simulated

from gpubind_ctl import options, roots
from gpubind_ctl.answer import Answer
from gpubind_ctl.commands import system_nodes
from gpubind_ctl.system import devices, links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_ctl.roots import Opened
    from gpubind_ctl.system.devices import Wanted


@click.command()
@options.system_root
@options.system_dev_root
@click.option(
    "--dev-char-path",
    metavar="DIR",
    envvar="DEV_CHAR_PATH",
    help=f"Where the links are; by default {links.CHAR}, that of a simulated node in its root.",
)
@click.option(
    "--create-all",
    is_flag=True,
    envvar="CREATE_ALL",
    help="Also link to nodes that are not there yet.",
)
@click.option("--create-device-nodes", is_flag=True, help="With --create-all: make these nodes.")
@options.load_modules
@options.dry_run
@options.force
def command(
    driver_root: str,
    dev_root: str | None,
    *,
    dev_char_path: str | None,
    create_all: bool,
    create_device_nodes: bool,
    load_kernel_modules: bool,
    dry_run: bool,
    force: bool,
) -> Answer:
    """Make the links MAJOR:MINOR in /dev/char that lead to the driver's device nodes.

    What is right is left alone. A link that leads elsewhere is named, and replaced with --force
    only. Exit status 3: there was one.
    """
    done = [Answer()]
    if load_kernel_modules:
        done.append(system_nodes.loaded(driver_root, dry_run=dry_run))
    if create_device_nodes and not create_all:
        note = "--create-device-nodes does nothing without --create-all"
        done.append(Answer(notes=(note,)))
    with roots.opened(driver_root, dev_root) as found:
        wanted = list(links.present(found.nodes))
        every = list(_every(found)) if create_all else []
        if create_device_nodes:
            done.append(system_nodes.create(found, every, dry_run=dry_run, force=force))
        more = devices.every_capability(found.system) if create_all else ()
        place = dev_char_path or _place(found)
        wanted += [*every, *more]
        done.append(_linked(place, found, wanted, dry_run=dry_run, force=force))
    return _together(done)


def _together(answers: list[Answer]) -> Answer:
    return Answer(
        text="".join(one.text for one in answers),
        notes=tuple(note for one in answers for note in one.notes),
        status=max(one.status for one in answers),
    )


def _every(found: Opened) -> Iterator[Wanted]:
    yield from devices.control(found.system)
    yield from devices.gpus(found.system)


def _place(found: Opened) -> str:
    return found.nodes.outer(links.CHAR) if simulated.is_simulated(found.nodes) else links.CHAR


def _linked(
    place: str, found: Opened, wanted: list[Wanted], *, dry_run: bool, force: bool
) -> Answer:
    lines, notes = [], []
    for link in links.plan(place, found.nodes, wanted):
        if link.fault and not force:
            notes.append(f"{link.fault}; --force replaces it")
            continue
        lines.append(f"{link}\n")
        if not dry_run:
            links.make(place, link)
    status = 3 if notes else 0
    if not wanted:
        notes.append(f"there is no device node of the driver in {found.nodes.outer('/dev')}")
    return Answer(text="".join(lines), notes=tuple(notes), status=status)
