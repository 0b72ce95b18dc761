# SPDX-License-Identifier: Apache-2.0
"""`gpubind simulate`: lay out a folder that stands in for a GPU machine's `/`."""

from __future__ import annotations

import click

from gpubind_ctl.answer import Answer
from gpubind_ctl.simulate import layout, profile


@click.command()
@click.option("--profile", "name", metavar="NAME", help="Which machine; --list shows them.")
@click.option("--root", metavar="DIR", help="A new or empty folder, or an earlier node.")
@click.option("--list", "listing", is_flag=True, help="Describe the profiles.")
def command(name: str | None, root: str | None, listing: bool) -> Answer:  # noqa: FBT001 - click's signature
    """Lay out a simulated GPU node, usable as --driver-root by every command.

    It has the driver's libraries and programs, /proc, /sys, device nodes that no driver answers,
    and an inventory of the GPUs that stands in for NVML. An earlier node in DIR is replaced.
    """
    if listing:
        profiles = [profile.load(known) for known in profile.names()]
        return Answer(text="".join(f"{one.name:<14} {one.summary}\n" for one in profiles))
    if name is None or root is None:
        raise click.UsageError("--profile NAME and --root DIR are needed, or --list")
    wanted = profile.load(name)
    written = layout.lay_out(wanted, root)
    text = (
        f"{root}: simulated node {wanted.name}, {len(wanted.gpus)} GPU(s), driver "
        f"{wanted.version}, CUDA {wanted.cuda}; {written.entries} entries\n"
    )
    return Answer(text=text, notes=written.notes)
