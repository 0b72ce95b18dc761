# SPDX-License-Identifier: Apache-2.0
"""The command line of an OCI runtime, read as far as a shim must (runc(8), crun(1)).

`gpubind-runtime` passes every word on as it came; what it needs to know is the command, the bundle
of a `create` or `run`, and where the engine wants messages.
"""

from __future__ import annotations

import os

from gpubind.errors import UsageError

INJECTED = ("create", "run")
"""Commands that make a container."""

# fmt: off
_COMMANDS = frozenset((
    "checkpoint", "create", "delete", "events", "exec", "features", "help", "kill", "list",
    "mounts", "pause", "ps", "restore", "resume", "run", "spec", "start", "state", "update",
))
_VALUED = frozenset(("log", "log-format", "root", "criu", "rootless", "cgroup-manager"))
_CREATE_VALUED = frozenset((
    "b", "bundle", "f", "config", "console-socket", "pid-file", "preserve-fds",
))
# fmt: on


class Arguments:
    """What was read: `command`, `bundle` folder, `config` file name, `log` file, `log_format`."""

    __slots__ = ("bundle", "command", "config", "debug", "log", "log_format")

    def __init__(self) -> None:
        self.command = ""
        self.bundle = ""
        self.config = ""
        self.log = ""
        self.log_format = "text"
        self.debug = False

    @property
    def makes_container(self) -> bool:
        """Whether the command is one of INJECTED."""
        return self.command in INJECTED


def parse(words: list[str]) -> Arguments:
    """Give what a shim must know of the words after the program's name.

    A word counts as the command where it stands first after the global options, never as an
    option's value or a container's name. Raises UsageError where `--bundle` has no value.
    """
    read = Arguments()
    words = list(words)[::-1]
    while words:
        word = words.pop()
        if not read.command and not word.startswith("-"):
            read.command = word if word in _COMMANDS else ""
            continue
        if word == "--" or (read.command and read.command not in INJECTED):
            break
        if len(word) > 1 and word.startswith("-"):
            _option(read, word, words)
    return read


def _option(read: Arguments, word: str, rest: list[str]) -> None:
    """Take one option, and its value from `rest` where that is a word of its own."""
    name, equals, value = word.lstrip("-").partition("=")
    if name == "debug":
        read.debug = value != "false"
    if name not in (_CREATE_VALUED if read.command else _VALUED):
        return
    if not equals:
        if not rest:
            raise UsageError(f"option {word} needs a value", identifier="ARG-VALUE")
        value = rest.pop()
    if name in ("b", "bundle"):
        read.bundle = value
    elif name in ("f", "config"):
        read.config = value
    elif name == "log":
        read.log = value
    elif name == "log-format":
        read.log_format = value


def config_of(read: Arguments) -> str:
    """Give the absolute name of the config.json a `create` or `run` will read."""
    folder = os.path.abspath(read.bundle or ".")
    return os.path.join(folder, read.config or "config.json")
