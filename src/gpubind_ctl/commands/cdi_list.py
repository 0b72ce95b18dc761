# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi list`: the devices that CDI specs give."""

from __future__ import annotations

import click

from gpubind_ctl import options, settings
from gpubind_ctl.answer import Answer


@click.command()
@options.spec_dirs
@options.config_file
@options.state_dir
def command(spec_dir: tuple[str, ...], config_file: str, state_dir: str) -> Answer:
    """List the devices that CDI specs give, by qualified name.

    Specs that can't be read and devices in two specs are named on standard error.
    """
    registry = settings.compiled(config_file, spec_dir, state_dir)
    text = "".join(f"{name}\n" for name in sorted(registry["devices"]))
    return Answer(text=text, notes=settings.complaints(registry))
