# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi validate`: check CDI specs against the schema and CDI's rules."""

from __future__ import annotations

import click
from gpubind_cdi import document, schema, validate
from gpubind_cdi.model import Spec

from gpubind.errors import DocumentError
from gpubind_ctl import inputs
from gpubind_ctl.answer import Answer


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def command(files: tuple[str, ...]) -> Answer:
    """Check CDI specs; - is standard input.

    All faults of all files are named, with their place. Exit status: 1 if there are faults, 3 if
    there are only warnings.
    """
    lines, notes, worst = [], [], 0
    for name in files:
        spec, faults = _faults(name)
        warnings = [] if spec is None or faults else validate.warnings(spec)
        notes += [str(fault.of(name)) for fault in faults]
        notes += [f"warning: {warning.of(name)}" for warning in warnings]
        if faults:
            worst = 1
        elif spec is not None:
            worst = worst or (3 if warnings else 0)
            devices = len(spec.devices)
            lines.append(f"{name}: valid, CDI {spec.cdi_version}, {spec.kind}, {devices} devices\n")
    return Answer(text="".join(lines), notes=tuple(notes), status=worst)


def _faults(name: str) -> tuple[Spec | None, list[DocumentError]]:
    """Give the spec in a file, None where it has no structure of one, and all its faults."""
    try:
        loaded = document.load(inputs.read(name), name)
    except DocumentError as error:
        return None, [error]
    broken = schema.problems(loaded)
    try:
        spec = Spec.parse(loaded)
    except DocumentError as error:
        return None, broken or [error]
    return spec, validate.problems(spec) or broken
