# SPDX-License-Identifier: Apache-2.0
"""`gpubind runtime configure`: give a container engine our runtime, and its daemon a restart."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gpubind import config, paths
from gpubind_ctl import engineoptions
from gpubind_ctl.answer import Answer
from gpubind_ctl.engine import aftermath, configurator, difference, engines, ocihook
from gpubind_ctl.engine.engine import CONFIG_FILE, OCI_HOOK, RUNTIME, Wants
from gpubind_ctl.engine.host import ThisHost

if TYPE_CHECKING:
    from gpubind_ctl.engine.configurator import Done
    from gpubind_ctl.engine.engine import Engine

MODES = {"config-file": CONFIG_FILE, "config": CONFIG_FILE, "oci-hook": OCI_HOOK, "hook": OCI_HOOK}


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
    show_default=True,
    help="The runtime's program.",
)
@click.option(
    "--nvidia-runtime-hook-path",
    "hook",
    default=paths.RUNTIME_HOOK,
    metavar="FILE",
    show_default=True,
    help="The hook's program, for --config-mode oci-hook.",
)
@engineoptions.switch(
    "--nvidia-set-as-default",
    "--set-as-default",
    "default",
    help="Make it the default runtime.",
)
@click.option(
    "--no-set-as-default",
    "former_default",
    is_flag=True,
    help="Give the default runtime back that was there before us.",
)
@engineoptions.switch(
    "--cdi.enabled",
    "--cdi.enable",
    "--enable-cdi",
    "cdi",
    help="Turn CDI on in the engine, or off.",
)
@click.option(
    "--config-mode",
    "mode",
    type=click.Choice([*MODES]),
    default="config-file",
    help="Change the engine's file, or write an OCI hook file.",
)
@click.option(
    "--oci-hook-path",
    "hook_file",
    default="",
    metavar="FILE",
    help="Where the OCI hook file goes; by default to the terminal.",
)
@click.option(
    "--remove-old-hooks",
    "sweep",
    is_flag=True,
    help="Remove OCI hook files that would inject GPUs twice (podman, CRI-O).",
)
@engineoptions.dry_run
@engineoptions.restart_daemon
@engineoptions.engine_state
def command(engine: str, state: str, **given: Any) -> Answer:
    """Give a container engine a runtime for GPUs.

    Only the keys this needs are changed; everything else in the files stays byte for byte. Nothing
    is restarted unless --restart asks for it. Exit status 3: CDI was asked for, and the engine has
    none.
    """
    dry_run, mode, patience = (given.pop(key) for key in ("dry_run", "restart", "patience"))
    if given.pop("former_default"):
        if given["default"]:
            raise click.UsageError("--set-as-default and --no-set-as-default contradict each other")
        given["default"] = False
    prefixes = config.load().texts(config.PREFIXES)
    wants = Wants(**{**given, "mode": MODES[given["mode"]], "annotations": tuple(prefixes)})
    one: Engine = engines.named(engine)
    if wants.mode == OCI_HOOK:
        if not wants.hook_file:
            return Answer(text=ocihook.document(wants.hook).decode())
        one, wants = ocihook.OciHook(), replace(wants, name=ocihook.NAME)
    host = ThisHost(os.environ, config=wants.config)
    if dry_run:
        done = configurator.configure(one, wants, host, state, dry_run=True)
        told = (_loading(done), *done.notes)
        return Answer(text=difference.unified(done.edits), notes=told, status=_status(done))
    way = aftermath.way(mode, one, wants, host) if mode else None
    done = configurator.configure(one, wants, host, state)
    notes = [_loading(done), *done.notes, *_written(done)]
    if way is None:
        notes += aftermath.advice(one, done)
    elif done.edits or aftermath.waits(one, done, host):
        again = aftermath.Restart(way, one, host, state, patience)
        notes.append(again.told(done, wants.name))
    return Answer(notes=tuple(notes), status=_status(done))


def _loading(done: Done) -> str:
    return f"Loading config from {done.target.main} ({done.target.how})"


def _status(done: Done) -> int:
    return 3 if done.partial else 0


def _written(done: Done) -> list[str]:
    if not done.edits:
        return [f"{done.target.main} is as wanted; nothing is changed"]
    return [
        f"Wrote updated config to {edit.path}" if edit.after is not None else f"Removed {edit.path}"
        for edit in done.edits
    ]
