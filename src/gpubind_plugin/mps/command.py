# SPDX-License-Identifier: Apache-2.0
"""`gpubind-device-plugin mps-control-daemon`: runs NVIDIA's MPS for the resources shared by it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from gpubind_plugin import logs
from gpubind_plugin.mps import plan

if TYPE_CHECKING:
    from gpubind_plugin.config import Config


@click.group("mps-control-daemon", invoke_without_command=True)
@click.option("--config-file", metavar="TEXT", help="The configuration. [CONFIG_FILE]")
@click.option("--mig-strategy", metavar="TEXT", help="none, single. [MIG_STRATEGY]")
@click.option("--mount-shm", is_flag=True, help="Mount the shared memory first.")
@click.option("--root", metavar="DIR", default=plan.ROOT, help="Where pipes and logs are.")
@click.option(
    "--log-format",
    type=click.Choice(logs.FORMATS),
    envvar="LOG_FORMAT",
    default=logs.TEXT,
    help="How lines are logged, on standard error. [LOG_FORMAT]",
)
@click.pass_context
def command(
    context: click.Context, /, *, root: str, mount_shm: bool, log_format: str, **given: Any
) -> None:
    """Run the MPS control daemons until ended; SIGHUP reads the configuration again."""
    context.obj = root
    if context.invoked_subcommand is not None:
        return
    from gpubind_plugin.mps import keeping, shm

    if mount_shm:
        shm.mount(root)
    signals = keeping.Signals()
    keeping.Keeping(lambda: _load(given), logs.Log(log_format), root).run(signals.next)


@command.command("mount-shm")
@click.pass_context
def mount(context: click.Context) -> None:
    """Mount the shared memory on shm below the root, and end."""
    from gpubind_plugin.mps import shm

    shm.mount(context.obj)


def _load(given: dict[str, Any]) -> Config:
    """Load the configuration; the host's place of the pipes means nothing here, so any will do."""
    from gpubind_plugin import options

    return options.load({"mps_root": plan.ROOT, **given}, os.environ).config
