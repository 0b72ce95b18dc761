# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi transform root`: the same CDI spec for a driver at another place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, cast

import click
from gpubind_cdi import document, files, validate
from gpubind_cdi.model import Spec
from gpubind_cdi.transform import root as transform

from gpubind.errors import UsageError
from gpubind_ctl import inputs
from gpubind_ctl.answer import Answer

if TYPE_CHECKING:
    Side = Literal["host", "container"]


@click.command()
@click.option("--from", "from_", required=True, metavar="DIR", help="The root in the spec.")
@click.option("--to", required=True, metavar="DIR", help="The root to have there instead.")
@click.option("--input", "source", default="-", metavar="FILE", help="By default standard input.")
@click.option("--output", default="", metavar="FILE", help="By default standard output.")
@click.option(
    "--relative-to",
    default="host",
    show_default=True,
    metavar="host|container",
    help="Whose paths are meant.",
)
def command(from_: str, to: str, source: str, output: str, relative_to: str) -> Answer:
    """Rewrite the paths of a CDI spec from one root to another."""
    if relative_to not in ("host", "container"):
        raise UsageError(
            f"--relative-to {relative_to!r} is nothing",
            identifier="USE-SIDE",
            hint="use host or container",
        )
    for option, place in (("--from", from_), ("--to", to)):
        if place and not os.path.isabs(place):
            hint = "name the root from / on"
            message = f"{option} {place} is not an absolute path"
            raise UsageError(message, identifier="USE-PATH", hint=hint)
    data = inputs.read(source)
    spec = Spec.parse(document.load(data, source))
    changed = transform.run(spec, from_, to, cast("Side", relative_to))
    validate.check(changed)
    if output in ("", "-"):
        form = "json" if document.is_json(source, data.decode(errors="replace")) else "yaml"
        return Answer(text=document.dump(changed.document(), form).decode())
    path, form = files.place(output)
    files.put(os.path.abspath(path), document.dump(changed.document(), form))
    return Answer()
