# SPDX-License-Identifier: Apache-2.0
"""A plan as the CDI hook's command line, and back. Pure.

    gpubind-cdi-hook create-symlinks --link TARGET::LINK … update-ldcache --folder DIR …

Several hooks stand in one line, each name followed by its options, so that one process does all.
Option names are the field's; `--library` and `--library32` are ours and carry what the field's
hook finds out by running ldconfig in the container.
"""

from __future__ import annotations

from gpubind import plan
from gpubind.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from gpubind.plan import Operation

SPECIAL = {
    "chmod": "chmod",
    "enable-cuda-compat": "compat",
    "disable-device-node-modification": "params",
    "update-application-profile": "profile",
}
"""Hooks that only some containers need, each with its module in `gpubind.operation`."""

OPTIONS = {
    "create-symlinks": ("--link",),
    "update-ldcache": ("--folder", "--library", "--library32", "--ldconfig-path"),
}
"""The options of the hooks every container gets; each takes a value."""


class Line:
    """What a command line said: `operations`, and `unknown`, the names of hooks nobody knows."""

    __slots__ = ("operations", "unknown")

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.unknown: list[str] = []


def of(operations: Iterable[Operation]) -> list[str]:
    """Give the words that make the hook perform these operations."""
    links: list[str] = []
    words: list[str] = []
    for operation in operations:
        if isinstance(operation, plan.Link):
            links += ["--link", f"{operation.target}::{operation.link}"]
            continue
        if not isinstance(operation, plan.LdCache):
            words += operation.words()
            continue
        words.append("update-ldcache")
        for option, names in (
            ("--folder", operation.folders),
            ("--library", operation.libraries),
            ("--library32", operation.libraries32),
        ):
            words += [word for name in names for word in (option, name)]
    return (["create-symlinks", *links] if links else []) + words


def parse(words: list[str]) -> Line:
    """Read the hook's words.

    An unknown hook is noted and skipped with its options, so that a spec of a newer release still
    starts containers. Raises UsageError for an unknown option of a known hook and for a link that
    is not TARGET::LINK.
    """
    line = Line()
    words = list(words)[::-1]
    while words:
        name = words.pop()
        if name in SPECIAL:
            module = _module(SPECIAL[name])
            line.operations += module.parse(_options(name, module.OPTIONS, words))
        elif name in OPTIONS:
            line.operations += _operations(name, _options(name, OPTIONS[name], words))
        elif name.startswith("-"):
            raise UsageError(f"there is no option {name}", identifier="ARG-OPTION")
        else:
            line.unknown.append(name)
            while words and words[-1] not in OPTIONS and words[-1] not in SPECIAL:
                words.pop()
    return line


def _module(name: str) -> ModuleType:
    return __import__(f"gpubind.operation.{name}", fromlist=["parse"])


def _options(name: str, allowed: tuple[str, ...], words: list[str]) -> list[tuple[str, str]]:
    """Take the options of one hook from the reversed words."""
    found = []
    while words and words[-1].startswith("-"):
        word = words.pop()
        option, equals, value = word.partition("=")
        if option not in allowed:
            raise UsageError(f"{name} has no option {option}", identifier="ARG-OPTION")
        if not equals:
            if not words:
                raise UsageError(f"{name}: {option} needs a value", identifier="ARG-VALUE")
            value = words.pop()
        found.append((option, value))
    return found


def _operations(name: str, options: list[tuple[str, str]]) -> list[Operation]:
    if name == "create-symlinks":
        return [_link(value) for _, value in dict.fromkeys(options)]
    folders = [value for option, value in options if option == "--folder"]
    libraries = [value for option, value in options if option == "--library"]
    libraries32 = [value for option, value in options if option == "--library32"]
    for value in folders + libraries + libraries32:
        if not value.startswith("/"):
            raise UsageError(f"{name}: {value!r} is not absolute", identifier="ARG-VALUE")
    if folders and not libraries and not libraries32:  # the field's, which had ldconfig look
        return [_module("folders").Folders(folders)]
    return [plan.LdCache(folders, libraries, libraries32)]


def _link(value: str) -> plan.Link:
    target, colons, link = value.partition("::")
    if not colons or not target or not link.startswith("/") or "::" in link:
        raise UsageError(
            f"create-symlinks: {value!r} is not TARGET::LINK with an absolute LINK",
            identifier="ARG-LINK",
        )
    return plan.Link(target, link)
