# SPDX-License-Identifier: Apache-2.0
"""`gpubind cdi compile`: CDI specs and settings as one file for container starts."""

from __future__ import annotations

import os

import click

from gpubind import jit as looks
from gpubind_ctl import options, settings
from gpubind_ctl.answer import Answer


@click.command()
@options.spec_dirs
@options.config_file
@options.state_dir
@click.option("--jit", is_flag=True, help="Also describe the driver as it is now.")
@options.driver_root
@click.option(
    "--mode",
    type=click.Choice(("auto", "csv")),
    default="auto",
    show_default=True,
    help="How --jit looks at the driver: as the host is, or by a Tegra's lists of files.",
)
@click.option("--csv-all", is_flag=True, help="Read all of a Tegra's lists, not the usual ones.")
def command(
    *,
    spec_dir: tuple[str, ...],
    config_file: str,
    state_dir: str,
    jit: bool,
    driver_root: str,
    mode: str,
    csv_all: bool,
) -> Answer:
    """Compile CDI specs and settings for container starts.

    Container starts run this by themselves when a spec has changed, and in mode jit-cdi with --jit
    when the driver has. A spec that can't be read is named and stops nothing else. Exit status 3:
    a GPU or something else required could not be described; it is named.
    """
    from gpubind_cdi import compile as compiler

    spec_dir = tuple(map(os.path.abspath, spec_dir))  # a container starts in another folder
    state_dir = os.path.abspath(state_dir)
    registry = settings.compiled(config_file, spec_dir, state_dir)
    compiler.write(state_dir, registry, config_file)
    notes = settings.complaints(registry)
    if not jit:
        return Answer(notes=notes)
    from gpubind_cdi import jit as live

    kind = looks.kind(csv=mode == "csv", all_lists=csv_all)
    document = settings.looked_at(config_file, driver_root, kind)
    live.write(state_dir, document, kind)
    lost = tuple(f"missing: {one}" for one in document["missing"])
    return Answer(notes=(*notes, *lost), status=3 if lost else 0)
