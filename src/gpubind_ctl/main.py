# SPDX-License-Identifier: Apache-2.0
"""The `gpubind` command: finds the command's module, runs it, prints its answer, exits.

A command is loaded only when it is asked for, so that none pays for the others. This is the one
place that prints and exits. Exit status: 0 done; 1 failed, nothing changed; 2 bad usage; 3 partial;
130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from gpubind.errors import ToolkitError, UsageError, printable
from gpubind_ctl import common

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpubind_ctl.answer import Answer

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
COMPLETE = "_GPUBIND_COMPLETE"  # set by a shell that asks how a line goes on
_STREAMS = (
    ("stdin", "r", os.O_WRONLY),
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_WRONLY),
)
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Lazy(click.Group):
    """A group whose commands are imported when asked for: name to `module:attribute`."""

    def __init__(self, name: str, *, table: Mapping[str, str], help: str) -> None:  # noqa: A002 - click's word
        super().__init__(name, help=help, context_settings=_SETTINGS, no_args_is_help=False)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the table's order."""
        del ctx
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Give the command of that name, imported now, or None."""
        del ctx
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


_COMMANDS = "gpubind_ctl.commands"
TRANSFORM = Lazy(
    "transform",
    table={"root": f"{_COMMANDS}.cdi_transform:command"},
    help="Change CDI specs.",
)
CDI = Lazy(
    "cdi",
    table={
        "generate": f"{_COMMANDS}.cdi_generate:command",
        "list": f"{_COMMANDS}.cdi_list:command",
        "check": f"{_COMMANDS}.cdi_check:command",
        "explain": f"{_COMMANDS}.cdi_explain:command",
        "validate": f"{_COMMANDS}.cdi_validate:command",
        "transform": "gpubind_ctl.main:TRANSFORM",
        "compile": f"{_COMMANDS}.cdi_compile:command",
        "refresh": f"{_COMMANDS}.cdi_refresh:command",
    },
    help="Write, check and change CDI specs.",
)
RUNTIME = Lazy(
    "runtime",
    table={
        "configure": f"{_COMMANDS}.runtime_configure:command",
        "unconfigure": f"{_COMMANDS}.runtime_unconfigure:command",
        "status": f"{_COMMANDS}.runtime_status:command",
    },
    help="Set container engines up, show it, and give back what was there.",
)
SYSTEM = Lazy(
    "system",
    table={
        "create-device-nodes": f"{_COMMANDS}.system_nodes:command",
        "create-dev-char-symlinks": f"{_COMMANDS}.system_links:command",
    },
    help="Prepare the host: device nodes, and links to them.",
)
XID = Lazy(
    "xid",
    table={"explain": f"{_COMMANDS}.xid_explain:command"},
    help="Errors that the kernel module numbers.",
)
GPUBIND = Lazy(
    "gpubind",
    table={
        "cdi": "gpubind_ctl.main:CDI",
        "runtime": "gpubind_ctl.main:RUNTIME",
        "info": f"{_COMMANDS}.info:command",
        "config": f"{_COMMANDS}.config:command",
        "explain": f"{_COMMANDS}.explain:command",
        "system": "gpubind_ctl.main:SYSTEM",
        "xid": "gpubind_ctl.main:XID",
        "simulate": f"{_COMMANDS}.simulate:command",
        "hook": "gpubind_ctl.common:hook",
        "node-labels": f"{_COMMANDS}.node_labels:command",
    },
    help="Make a host's GPUs usable in containers.",
)


GPUBIND.params += common.OPTIONS


def main() -> None:
    """Run the command line of this process and exit with its status."""
    _have_streams()
    if asked := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(GPUBIND, {}, "gpubind", COMPLETE, asked))
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Run one command line, print its answer, and give the exit status.

    A command that takes long has a function as `obj` that tells a line at once.
    """
    try:
        with GPUBIND.make_context("gpubind", list(words), obj=_tell) as context:
            answer: Answer = GPUBIND.invoke(context)
            _print(answer.text)
            for note in answer.notes:
                (_tell if answer.status else context.obj)(note)
            return answer.status
    except click.exceptions.Exit as end:
        return _flushed(end.exit_code)
    except click.ClickException as error:
        return _told(_usage(error))
    except ToolkitError as error:
        return _told(error)
    except BrokenPipeError:
        return _unread(1)
    except OSError as error:
        return _unread(_told(_system(error)))
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED


def _usage(error: click.ClickException) -> UsageError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = " ".join(error.format_message().split()).rstrip(".")
    hint = f"see '{context.command_path if context else 'gpubind'} --help'"
    return UsageError(message, identifier="USE-COMMAND", hint=hint)


def _system(error: OSError) -> ToolkitError:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None]
    message = ": ".join([*names, error.strerror or str(error)])
    return ToolkitError(message, identifier="SYS-REFUSED")


def _told(error: ToolkitError) -> int:
    _tell(str(error), *getattr(error, "excerpt", ()))
    return error.status


def _tell(message: str, *excerpt: str) -> None:
    """Print one line on standard error, and below it the line of a file that it is about."""
    lines = (f"gpubind: {printable(message)}", *map(printable, excerpt))
    with contextlib.suppress(OSError):  # nobody reads it: the exit status still tells
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()


def _flushed(status: int) -> int:
    try:
        _print("")
    except BrokenPipeError:
        return _unread(1)
    except OSError as error:
        return _unread(_told(_system(error)))
    return status


def _print(text: str) -> None:
    """Print on standard output, at once. Raises OSError."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        error.filename = "standard output"
        raise


def _unread(status: int) -> int:
    """Give the status once nothing is left for Python's exit to print, which would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _have_streams() -> None:
    """Open those of the three standard streams that are closed, so that no file gets their number.

    What is read from or printed to them fails as on the closed one, save for standard error.
    """
    for number, (name, mode, way) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, way)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115 - kept
