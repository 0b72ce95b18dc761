# SPDX-License-Identifier: Apache-2.0
"""Command line options of the commands that configure engines, by the field's names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from gpubind_ctl.engine import journal, restart

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT = "RUNTIME_SPECIFIC_DEFAULT"  # the field's word


def switch(*names: str, help: str) -> Callable[..., Any]:  # noqa: A002 - click's word
    """Give a switch with three states: on, off and unsaid. `--x`, `--x=true` and `--x=false`."""
    return click.option(
        *names,
        type=bool,
        is_flag=False,
        flag_value=True,
        default=None,
        metavar="[=true|false]",
        help=help,
    )


engine = click.option(
    "--runtime",
    "engine",
    default="docker",
    show_default=True,
    metavar="ENGINE",
    help="docker, containerd, crio or podman.",
)
_config = click.option(
    "--config",
    default="",
    metavar="FILE",
    callback=lambda _context, _parameter, value: value and os.path.abspath(value),
    help="The engine's file; by default the one it loads.",
)
_drop_in = click.option(
    "--drop-in-config",
    "drop_in",
    default=DEFAULT,
    metavar="FILE",
    callback=lambda _context, _parameter, value: "" if value == DEFAULT else value or None,
    help="The drop-in that is written; by default the engine's own place, empty for none.",
)
_source = click.option(
    "--config-source",
    "source",
    type=click.Choice(["file", "command"]),
    default="file",
    help="As in the field's toolkit; the engine's files are read in either case.",
)
_executable = click.option(
    "--executable-path",
    "executable",
    default="",
    metavar="FILE",
    help="The engine's program, which is asked for its version and what it makes of the result.",
)
_layout = click.option(
    "--layout",
    default="",
    metavar="NAME",
    help="containerd's kind of installation: standard, k3s, rke2, k0s or microk8s; by default what "
    "is there.",
)


def engine_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which files of an engine are meant."""
    return _config(_drop_in(_layout(_source(_executable(command)))))


runtime_name = click.option(
    "--nvidia-runtime-name",
    "name",
    default="nvidia",
    show_default=True,
    metavar="NAME",
    help="The runtime's name.",
)
dry_run = click.option("--dry-run", is_flag=True, help="Show the change as a diff; write nothing.")
_restart = click.option(
    "--restart",
    type=click.Choice(restart.MODES),
    is_flag=False,
    flag_value="auto",
    default=None,
    help="Restart the daemon, wait until it is up, and give the old files back where it is not.",
)
_patience = click.option(
    "--restart-timeout",
    "patience",
    type=click.IntRange(min=1),
    default=restart.PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="How long a daemon may take to come up.",
)


def restart_daemon(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options to restart the daemon."""
    return _restart(_patience(command))


engine_state = click.option(
    "--state-dir",
    "state",
    default=journal.folder,
    show_default=journal.STATE,
    metavar="DIR",
    help="Where changes are journalled.",
)
