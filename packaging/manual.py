# SPDX-License-Identifier: Apache-2.0
"""Manual pages and shell completions, made from what the commands say of themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from gpubind_ctl.main import COMPLETE, GPUBIND

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
COMPLETIONS = {
    "bash": "/usr/share/bash-completion/completions/gpubind",
    "zsh": "/usr/share/zsh/site-functions/_gpubind",
    "fish": "/usr/share/fish/vendor_completions.d/gpubind.fish",
}
HEAD = '.\\" SPDX-License-Identifier: Apache-2.0\n.TH {title} {section} "" "gpubind {version}"\n'
STATUS = """\
0: done. 1: failed, and nothing is changed. 2: bad usage. 3: partial, or warnings only; what is
meant is named. An error is one line and ends with its name in brackets."""


def quoted(text: str) -> str:
    """Give a text as roff shows it as it stands."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", text)


def versioned(text: str, version: str) -> str:
    """Give a page that was written by hand with the version in its head."""
    return text.replace("@VERSION@", version)


def pages(
    version: str, command: click.Command = GPUBIND, program: str = "gpubind"
) -> dict[str, str]:
    """Give the pages of a program by name: one for each command and group."""
    return {
        f"{name}.1": page(name, context, version)
        for name, context in _commands(command, program, None)
    }


def _commands(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[tuple[str, click.Context]]:
    above = f"{parent.command_path.replace(' ', '-')}-" if parent else ""
    context = click.Context(command, info_name=name.removeprefix(above), parent=parent)
    yield name, context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None and not found.hidden:
                yield from _commands(found, f"{name}-{inner}", context)


def page(name: str, context: click.Context, version: str) -> str:
    """Give a command's page as roff."""
    command = context.command
    brief, *rest = _paragraphs(command.help or "")
    text = HEAD.format(title=name.upper(), section=1, version=version)
    text += f".SH NAME\n{quoted(name)} \\- {quoted(brief.rstrip('.'))}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    text += f".SH SYNOPSIS\n.B {quoted(context.command_path)}\n{quoted(usage)}\n"
    text += ".SH DESCRIPTION\n" + "\n.PP\n".join(map(quoted, [brief, *rest])) + "\n"
    for title, rows in _tables(context):
        text += f".SH {title}\n" + "".join(
            f".TP\n.B {quoted(term)}\n{quoted(meaning)}\n" for term, meaning in rows
        )
    text += f".SH EXIT STATUS\n{quoted(STATUS)}\n"
    above = context.parent.command_path.replace(" ", "-") if context.parent else "gpubind-runtime"
    return text + f".SH SEE ALSO\n.BR {quoted(above)} ({1 if context.parent else 8})\n"


def _paragraphs(text: str) -> list[str]:
    clean = re.sub(r"[\b\f].*\n?", "", text)
    return [" ".join(part.split()) for part in clean.split("\n\n") if part.strip()]


def _tables(context: click.Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    command = context.command
    parameters = command.get_params(context)
    records = [one.get_help_record(context) for one in parameters]
    yield "OPTIONS", [record for record in records if record is not None]
    if isinstance(command, click.Group):
        inner = [
            (name, command.get_command(context, name)) for name in command.list_commands(context)
        ]
        yield "COMMANDS", [(name, one.get_short_help_str(300)) for name, one in inner if one]
    named = [(one, one.envvar) for one in parameters if one.envvar]
    rows = [(_text(variable), f"stands for {max(one.opts, key=len)}") for one, variable in named]
    if rows:
        yield "ENVIRONMENT", rows


def _text(variable: Any) -> str:
    return variable if isinstance(variable, str) else ", ".join(variable)


def completion(shell: str) -> str:
    """Give the script that a shell completes the program's words with."""
    return SHELLS[shell](GPUBIND, {}, "gpubind", COMPLETE).source()
