# SPDX-License-Identifier: Apache-2.0
"""The command line a systemd unit starts, from the texts of the unit and its drop-ins.

systemd.service(5): a later ExecStart adds to an earlier one, an empty one clears what was there.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_PREFIXES = "-@:+!"
_SHELLS = ("sh", "bash", "dash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The lines of a unit that make its command: ExecStart, variables, files of variables."""

    command: str
    variables: Mapping[str, str]
    files: tuple[str, ...]


def parse(texts: Iterable[str]) -> Unit:
    """Give the unit that a file and its drop-ins, in their order, make."""
    commands: list[str] = []
    files: list[str] = []
    variables: dict[str, str] = {}
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            key, equals, value = (part.strip() for part in line.partition("="))
            if equals and key == "ExecStart":
                commands = [*commands, value] if value else []
            elif equals and key == "EnvironmentFile":
                files = [*files, value.lstrip("-")] if value else []
            elif equals and key == "Environment":
                pairs = (word.partition("=") for word in words(value))
                variables.update({name: after for name, _, after in pairs})
    return Unit(command=commands[0] if commands else "", variables=variables, files=tuple(files))


def assignments(text: str) -> dict[str, str]:
    """Give the variables of an environment file."""
    pairs = (line.strip().partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key.strip(): " ".join(words(value)) for key, equals, value in pairs if equals}


def command(unit: Unit, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Give the words of the command: `$NAME` alone is split at spaces, `${NAME}` is not."""
    found: list[str] = []
    for word in words(unit.command.lstrip(_PREFIXES)):
        whole = re.fullmatch(r"\$(\w+)", word)
        if whole:
            found += words(variables.get(whole[1], ""))
        else:
            found.append(_VARIABLE.sub(lambda m: variables.get(m[1] or m[2], ""), word))
    if found[1:2] == ["-c"] and found[0].rpartition("/")[2] in _SHELLS:
        found = words(" ".join(found[2:3]))  # a shell's options are none of the daemon's
    return tuple(found)


def words(text: str) -> list[str]:
    """Give the words of a line; one whose quotes do not match is split at spaces alone."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def flag(argv: Iterable[str], *names: str) -> str | None:
    """Give the last value of an option in a command line, `--x=v` or `--x v`; None if absent."""
    value = None
    words_left = iter(argv)
    for word in words_left:
        name, equals, after = word.partition("=")
        if name in names:
            value = after if equals else next(words_left, "")
    return value
