# SPDX-License-Identifier: Apache-2.0
"""The `gpubind-device-plugin` command: serves the node's GPUs to the kubelet until it is ended.

Exit status: 0 ended by SIGTERM, SIGINT or SIGQUIT; 1 failed, nothing is served; 2 bad usage. This
is the one place that prints, apart from the log, and exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from gpubind import VERSION, errors
from gpubind.errors import ToolkitError, UsageError, printable
from gpubind_plugin import logs, options
from gpubind_plugin.mps.command import command as mps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpubind_plugin.counts import Counts
    from gpubind_plugin.logs import Log
    from gpubind_plugin.node import Node
    from gpubind_plugin.options import Loaded
    from gpubind_plugin.standing import Standing

NAME = "gpubind-device-plugin"
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@click.group(
    NAME,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@options.flags
@click.option(
    "--log-format",
    type=click.Choice(logs.FORMATS),
    envvar="LOG_FORMAT",
    default=logs.TEXT,
    help="How lines are logged, on standard error. [LOG_FORMAT]",
)
@click.version_option(VERSION, message=f"{NAME} %(version)s")
@click.pass_context
def command(
    context: click.Context, /, *, log_format: str, print_config: bool, **given: Any
) -> None:
    """Serve the GPUs of this node to the kubelet.

    SIGHUP reads the configuration file again.
    """
    if context.invoked_subcommand is not None:
        return
    loaded = options.load(given, os.environ)
    if print_config:
        click.echo(options.printed(loaded.config))
        return
    log = logs.Log(log_format)
    asyncio.run(_serve(loaded, given, log))


command.add_command(mps)


async def _serve(loaded: Loaded, given: Mapping[str, Any], log: Log) -> None:
    """Serve until a signal ends it."""
    from gpubind_plugin.health.watch import Watch
    from gpubind_plugin.mps import readiness
    from gpubind_plugin.node import Node
    from gpubind_plugin.ports import Ports
    from gpubind_plugin.standing import Standing

    log.info("begins", version=VERSION, config=json.loads(options.printed(loaded.config)))
    standing = Standing(log)

    def again() -> Any:
        anew = options.load(given, os.environ)
        _warn(anew, log)
        return anew.config

    _warn(loaded, log)
    with _counted(loaded.config.metrics_address, standing, log) as counts:
        ports = Ports(health=Watch, ready=readiness.ready)
        node = Node(loaded.config, again, counts=counts, standing=standing, log=log, ports=ports)
        await _until_ended(node, log)


async def _until_ended(node: Node, log: Log) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(node.run())

    def end(number: int) -> None:
        log.info("ends", signal=signal.Signals(number).name)
        task.cancel()

    for number in ENDING:
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, node.hang_up)
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def _counted(address: str, standing: Standing, log: Log) -> Iterator[Counts]:
    """Count, and show it at the address; where there is none, nobody counts."""
    if not address:
        from gpubind_plugin.counts import Nobody

        yield Nobody()
        return
    from gpubind_plugin import metrics

    counts = metrics.Metrics()
    page = metrics.Page(address, counts, lambda: (standing.document(), standing.fine))
    log.info("metrics and health are served", address=page.address)
    with contextlib.closing(page):
        yield counts


def _warn(loaded: Loaded, log: Log) -> None:
    for warning in loaded.warnings:
        log.warning(warning)


def main() -> None:
    """Run the command line of this process and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run one command line and give the exit status."""
    try:
        with command.make_context(NAME, list(words)) as context:
            command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        message = " ".join(error.format_message().split()).rstrip(".")
        return _told(UsageError(message, identifier="USE-COMMAND", hint=f"see '{NAME} --help'"))
    except ToolkitError as error:
        return _told(error)
    except OSError as error:
        _tell(errors.line(error, "SYS-REFUSED"))
        return 1
    return 0


def _told(error: ToolkitError) -> int:
    _tell(str(error))
    return error.status


def _tell(message: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it: the exit status still tells
        sys.stderr.write(f"{NAME}: {printable(message)}\n")
        sys.stderr.flush()
