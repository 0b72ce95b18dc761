# SPDX-License-Identifier: Apache-2.0
"""`gpubind simulate`: lay out a folder that stands in for a GPU machine's `/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpubind.errors import DocumentError
from gpubind.root import Root
from gpubind_ctl import inputs
from gpubind_ctl.answer import Answer
from gpubind_ctl.simulate import layout, profile

if TYPE_CHECKING:
    from gpubind_cdi.script import Act

    from gpubind_ctl.simulate.profile import Profile


@click.command()
@click.option("--profile", "name", metavar="NAME", help="Which machine; --list shows them.")
@click.option("--root", metavar="DIR", help="A new or empty folder, or an earlier node.")
@click.option("--script", "file", metavar="FILE", help="What happens to it: docs/simulate.md.")
@click.option("--play", "playing", is_flag=True, help="Play the script of the node in DIR.")
@click.option("--advance", is_flag=True, help="Let the next act of its script happen now.")
@click.option("--list", "listing", is_flag=True, help="Describe the profiles.")
def command(
    *,
    name: str | None,
    root: str | None,
    file: str | None,
    playing: bool,
    advance: bool,
    listing: bool,
) -> Answer:
    """Lay out a simulated GPU node, usable as --driver-root by every command.

    It has the driver's libraries and programs, /proc, /sys, device nodes that no driver answers,
    and an inventory of the GPUs that stands in for NVML. An earlier node in DIR is replaced.
    """
    if listing:
        profiles = [profile.load(known) for known in profile.names()]
        return Answer(text="".join(f"{one.name:<14} {one.summary}\n" for one in profiles))
    if playing or advance:
        if root is None or name or file or (playing and advance):
            raise click.UsageError("--play and --advance need --root DIR, and nothing else")
        from gpubind_ctl.simulate import play

        with Root(root) as node:
            lines = (play.play if playing else play.advance)(node)
        return Answer(text="".join(f"{line}\n" for line in lines))
    if name is None or root is None:
        raise click.UsageError("--profile NAME and --root DIR are needed, or --list")
    return _laid_out(profile.load(name), root, file)


def _laid_out(wanted: Profile, root: str, file: str | None) -> Answer:
    acts = _script(wanted, file) if file else ()
    written = layout.lay_out(wanted, root)
    text = (
        f"{root}: simulated node {wanted.name}, {len(wanted.gpus)} GPU(s), driver "
        f"{wanted.version}, CUDA {wanted.cuda}; {written.entries} entries\n"
    )
    if file:
        from gpubind_ctl.simulate import play

        with Root(root) as node:
            text += "".join(f"{line}\n" for line in play.begin(node, acts))
    return Answer(text=text, notes=written.notes)


def _script(wanted: Profile, file: str) -> tuple[Act, ...]:
    from gpubind_cdi import document, script

    try:
        loaded = document.load(inputs.read(file), file)
        return script.parse(loaded, [gpu.uuid for gpu in wanted.gpus])
    except DocumentError as error:
        raise error.of(file) from None
