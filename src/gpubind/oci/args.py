# SPDX-License-Identifier: Apache-2.0
"""The command line of an OCI runtime, read as far as a shim must (runc(8), crun(1)).

`gpubind-runtime` passes every word on as it came; what it needs to know is the command, the bundle
of a `create` or `run`, and where the engine wants messages.
"""

from __future__ import annotations

import posix

from gpubind.errors import UsageError

INJECTED = ("create", "run")
"""Commands that make a container."""

# fmt: off
_COMMANDS = frozenset((
    "checkpoint", "create", "delete", "events", "exec", "features", "help", "kill", "list",
    "mounts", "pause", "ps", "restore", "resume", "run", "spec", "start", "state", "update",
))
_VALUED = frozenset((
    "log", "log-format", "log-level", "root", "criu", "rootless", "cgroup-manager",
))
_CREATE_VALUED = frozenset((
    "b", "bundle", "f", "config", "console-socket", "pid-file", "pidfd-socket", "preserve-fds",
))
# fmt: on


class Arguments:
    """What was read: `command`, `bundle` folder, `config` file name, `log` file, `log_format`."""

    __slots__ = ("bundle", "command", "config", "debug", "helps", "log", "log_format")

    def __init__(self) -> None:
        self.command = ""
        self.bundle = ""
        self.config = ""
        self.log = ""
        self.log_format = "text"
        self.debug = False
        self.helps = False

    @property
    def makes_container(self) -> bool:
        """Whether the command is one of INJECTED, and not only asked what it does."""
        return self.command in INJECTED and not self.helps


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
        if read.command and (word == "--" or read.command not in INJECTED):
            break
        if len(word) > 1 and word.startswith("-"):
            _option(read, word, words)
    return read


def _option(read: Arguments, word: str, rest: list[str]) -> None:
    """Take one option, and its value from `rest` where that is a word of its own."""
    name, equals, value = word.lstrip("-").partition("=")
    if name == "debug":
        read.debug = value != "false"
    elif name in ("h", "help"):
        read.helps = True
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
    """Give the absolute name of the config.json a `create` or `run` will read.

    Another one, which crun takes, is named from the folder crun is started in, not the bundle.
    """
    if read.config not in ("", "config.json"):
        return _absolute(read.config)
    bundle = _absolute(read.bundle) if read.bundle else posix.getcwd()
    return f"{bundle.rstrip('/')}/config.json"


def _absolute(name: str) -> str:
    return name if name.startswith("/") else f"{posix.getcwd().rstrip('/')}/{name}"
