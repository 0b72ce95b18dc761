# SPDX-License-Identifier: Apache-2.0
"""`gpubind runtime unconfigure`: give an engine back what it had before us."""

from __future__ import annotations

import os
from typing import Any

import click

from gpubind_ctl import engineoptions
from gpubind_ctl.answer import Answer
from gpubind_ctl.engine import aftermath, configurator, difference, engines, ocihook
from gpubind_ctl.engine.engine import RUNTIME, Wants
from gpubind_ctl.engine.host import ThisHost


@click.command()
@engineoptions.engine
@engineoptions.engine_config
@engineoptions.runtime_name
@click.option(
    "--nvidia-runtime-path",
    "--runtime-path",
    "path",
    default=RUNTIME,
    metavar="FILE",
    help="The runtime's program, where there is no journal and it has another name.",
)
@click.option(
    "--oci-hook-path",
    "hook_file",
    default="",
    metavar="FILE",
    help="Give back this OCI hook file instead.",
)
@engineoptions.dry_run
@engineoptions.restart_daemon
@engineoptions.engine_state
@click.pass_context
def command(context: click.Context, /, engine: str, state: str, **given: Any) -> Answer:
    """Take our runtimes out of an engine's files again.

    Files that nobody has changed since get the bytes they had, and one that was made for us goes.
    In others only our keys go, and the former default runtime comes back. Nothing is restarted
    unless --restart asks for it.
    """
    dry_run, mode, patience = (given.pop(key) for key in ("dry_run", "restart", "patience"))
    wants = Wants(**given)
    one = ocihook.OciHook() if wants.hook_file else engines.named(engine)
    by_default = (click.core.ParameterSource.DEFAULT, None)
    only = context.get_parameter_source("name") not in by_default and not wants.hook_file
    host = ThisHost(os.environ, config=wants.config)
    way = aftermath.way(mode, one, wants, host) if mode and not dry_run else None
    done = configurator.unconfigure(one, wants, host, state, only=only, dry_run=dry_run)
    if dry_run:
        return Answer(text=difference.unified(done.edits), notes=done.notes)
    notes = [f"Loading config from {done.target.main} ({done.target.how})", *done.notes]
    for edit in done.edits:
        empty = f"Removed empty config from {edit.path}"
        notes.append(empty if edit.after is None else f"Wrote updated config to {edit.path}")
    if not done.edits:
        notes.append(f"{done.target.main} has nothing of ours; nothing is changed")
    if way is None:
        notes += aftermath.advice(one, done)
    elif done.edits or aftermath.waits(one, done, host):
        notes.append(aftermath.Restart(way, one, host, state, patience).told(done, ""))
    return Answer(notes=tuple(notes))
