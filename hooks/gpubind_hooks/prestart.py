# SPDX-License-Identifier: Apache-2.0
"""`gpubind-runtime-hook`: the OCI prestart hook of engines that start plain runc.

docker before 29.2 adds it to a container started with `--gpus`, and says in the container's
environment which GPUs; OCI hook files add it to every container. The container is being made by
then, so everything goes in from outside (`delivery`). poststart and poststop do nothing.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys

from gpubind import VERSION, errors
from gpubind.errors import ToolkitError, UsageError
from gpubind.log import Log
from gpubind_hooks import state

LIMIT_S = 60
"""Seconds the hook may take: compiling specs anew is part of it at most once."""

USAGE = "usage: gpubind-runtime-hook [-config FILE] [-debug] [-version] prestart|poststart|poststop"
NO_CGROUPS = "nvidia-container-cli.no-cgroups"
_NOTHING = ("poststart", "poststop")
_READ = ("mounts", "ociVersion", "process", "root")  # annotations ask a runtime, not this hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gpubind.config import Config
    from gpubind.injection import Decision
    from gpubind.oci.types import Spec
    from gpubind.request import Request


class Words:
    """What the command line says: `command`, and the flags."""

    __slots__ = ("command", "config", "debug", "version")

    def __init__(self) -> None:
        self.command = ""
        self.config = ""
        self.debug = False
        self.version = False


def main(argv: list[str], limit_s: float = LIMIT_S) -> None:
    """Do what the words ask for within `limit_s`; end with 0 done, 1 failed, 2 bad usage."""
    log = Log("gpubind-runtime-hook")
    _signal.signal(_signal.SIGALRM, _late)
    _signal.setitimer(_signal.ITIMER_REAL, limit_s)
    try:
        words = parse(argv[1:])
        if words.version:
            os.write(1, f"gpubind-runtime-hook version {VERSION}\n".encode())
        elif words.command not in _NOTHING:
            prestart(state.stdin(), words, log)
    except ToolkitError as error:
        log.fail(str(error))
        sys.exit(error.status)
    except Exception as error:  # noqa: BLE001 - an engine shows one line, never a traceback
        log.fail(errors.line(error, "HOOK-OS"))
        sys.exit(1)


def _late(_number: int, _frame: object) -> None:
    raise ToolkitError(
        "took too long and gave up",
        identifier="HOOK-TIMEOUT",
        hint="see whether the container's root or the OCI state on stdin hangs",
    )


def parse(arguments: list[str]) -> Words:
    """Read the command line; flags stand before the command, with one dash or two.

    Raises UsageError for an unknown flag or command, or none at all.
    """
    words = Words()
    rest = list(arguments)[::-1]
    while rest and rest[-1].startswith("-"):
        flag, equals, value = rest.pop().partition("=")
        name = flag.removeprefix("-").removeprefix("-")
        if name == "config" and (equals or rest):
            words.config = value if equals else rest.pop()
        elif name in ("debug", "version") and value in ("", "true", "false"):
            setattr(words, name, value != "false")
        else:
            raise UsageError(f"there is no option {flag}; {USAGE}", identifier="ARG-OPTION")
    words.command = rest.pop() if rest else ""
    if not words.version and words.command not in ("prestart", *_NOTHING):
        raise UsageError(USAGE, identifier="ARG-COMMAND")
    return words


def prestart(data: bytes, words: Words, log: Log) -> None:
    """Give the container of the OCI state what it asks for. Raises ToolkitError.

    Most containers of a host ask for nothing: for them no more is loaded than finds that out.
    """
    from gpubind.oci import spec

    found = state.decoded(data)
    file = f"{state.bundle(found)}/config.json"
    known = spec.load(file)
    document: Spec = {key: known[key] for key in _READ if key in known}  # type: ignore[literal-required,assignment] # keys of Spec
    settings = _settings(words.config)
    wanted = _request(document, settings, file)
    for note in wanted.notes:
        log.note(note)
    if wanted.devices:
        decision = _decision(document, file, wanted, settings)
        from gpubind_hooks import delivery

        cgroups = not settings.flag(NO_CGROUPS)
        done = delivery.deliver(decision, state.pid(found), cgroups=cgroups)
        for note in decision.notes:
            log.note(note)
        for line in done if words.debug else ():
            log.note(line)


def _request(document: Spec, settings: Config, file: str) -> Request:
    """Give what the container asks for."""
    from gpubind import request

    return request.of(document, settings, file)


def _settings(file: str) -> Config:
    """Give the configuration, from `file` where the command line names one."""
    from gpubind import config

    if not file:
        return config.load()
    from gpubind import configfile

    return config.Config(configfile.read(file), file)


def _decision(document: Spec, file: str, wanted: Request, settings: Config) -> Decision:
    """Give what the container gets. Raises ToolkitError where this host has nothing to give."""
    from gpubind import injection

    decision = injection.decide(file, document, wanted, settings)
    if not decision.edits:
        why = decision.notes[-1] if decision.notes else "nothing to inject was found"
        raise ToolkitError(
            why.removesuffix(": started without [NO-DRIVER]"),
            identifier="NO-DRIVER",
            hint="install the driver and run 'gpubind cdi generate', or ask for no GPU",
        )
    return decision
