# SPDX-License-Identifier: Apache-2.0
"""What stands before a command as in the field, and `hook`: the CDI hooks under its name."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from gpubind import VERSION, config

if TYPE_CHECKING:
    from collections.abc import Callable

_FILE = "gpubind.config"  # what --config before the command says, for the command's own default


def configured() -> str:
    """Give the configuration's file: what stands before the command, else the one in its place."""
    context = click.get_current_context(silent=True)
    named = context.find_root().meta.get(_FILE) if context else None
    return named or config.locate(environ=os.environ)


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        click.echo(f"gpubind {VERSION}")
        context.exit()


def _quiet(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        context.obj = _silent


def _silent(_: str) -> None:
    pass


def _config(context: click.Context, _: click.Parameter, value: str) -> None:
    if value:
        context.meta[_FILE] = value


def _option(*names: str, callback: Callable[..., None], **given: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=callback, **given)


OPTIONS = (
    _option(
        *("--version", "-v"),
        is_flag=True,
        is_eager=True,
        callback=_version,
        help="Show the version and exit.",
    ),
    _option("--quiet", is_flag=True, callback=_quiet, help="Tell nothing but errors."),
    _option(
        *("--debug", "-d"),
        is_flag=True,
        callback=lambda *_: None,
        help="Accepted: what there is to tell is always told.",
    ),
    _option("--config", metavar="FILE", callback=_config, help="The operator's configuration."),
)


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="NAME [ARGUMENT]...")
def hook(words: tuple[str, ...]) -> None:
    """Be the CDI hook of that name, as gpubind-cdi-hook is.

    It is started in a container that is being made, with the container's OCI state on stdin.
    """
    from gpubind_hooks import cdi

    cdi.main(["gpubind-cdi-hook", *words])
    sys.exit(0)
