# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi compile`: CDI specs and settings as one file for container starts."""

from __future__ import annotations

import click

from gpubind_ctl import options, settings
from gpubind_ctl.answer import Answer


@click.command()
@options.spec_dirs
@options.config_file
@options.state_dir
def command(spec_dir: tuple[str, ...], config_file: str, state_dir: str) -> Answer:
    """Compile CDI specs and settings for container starts.

    Container starts run this by themselves when a spec has changed. A spec that can't be read is
    named and stops nothing else.
    """
    from gpubind_cdi import compile as compiler

    registry = settings.compiled(config_file, spec_dir, state_dir)
    compiler.write(state_dir, registry, config_file)
    return Answer(notes=settings.complaints(registry))
