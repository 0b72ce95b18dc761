# SPDX-License-Identifier: Apache-2.0
"""Which file of the driver belongs to which driver capability: the table in libraries.yaml."""

from __future__ import annotations

import fnmatch
import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubind_cdi import document

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = os.path.join(os.path.dirname(__file__), "libraries.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one file is for. No capabilities means always; `hint` is what to do when it is missing.

    `files` are patterns of its name where it does not end in the driver's version, or the places
    to look for a socket; `link` is a link made beside it.
    """

    capabilities: tuple[str, ...] = ()
    required: bool = False
    why: str = ""
    hint: str = ""
    files: tuple[str, ...] = ()
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A link that programs expect in the folder of the library `of`."""

    of: str
    link: str
    target: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The whole table; keys are names or patterns, with {version} for the driver's version."""

    libraries: Mapping[str, Use]
    links: tuple[Extra, ...]
    modules: Mapping[str, Use]
    binaries: Mapping[str, Use]
    firmware: Mapping[str, Use]
    configs: Mapping[str, Use]
    sockets: tuple[Use, ...]
    nodes: Mapping[str, Use]
    gpu_nodes: Mapping[str, Use]


UNKNOWN = Use(why="part of the driver")


@functools.cache
def table() -> Table:
    """Give the table that comes with gpubind."""
    with open(FILE, "rb") as file:
        data = document.settled(document.load(file.read(), FILE))
    return Table(
        libraries=_uses(data["libraries"]),
        links=tuple(Extra(**row) for row in data["links"]),
        modules=_uses(data["modules"]),
        binaries=_uses(data["binaries"]),
        firmware=_uses(data["firmware"]),
        configs=_uses(data["configs"]),
        sockets=tuple(_use(row) for row in data["sockets"]),
        nodes=_uses(data["nodes"]),
        gpu_nodes=_uses(data["gpu_nodes"]),
    )


def capabilities_of(name: str) -> tuple[str, ...]:
    """Give the capabilities that a file of the driver serves, by its base name or its whole path.

    For specs of others, which say nothing about it. A name that is not in the table serves all,
    so it gives none: ().
    """
    base = name.rpartition("/")[2]
    library = table().libraries.get(stem(base))
    if library is not None:
        return library.capabilities
    return _names().get(base) or _by_pattern(name, base)


def stem(base: str) -> str:
    """Give a library's name up to its first `.so`; any other name as it is."""
    head, dot, _ = base.partition(".so.")
    return head + dot.removesuffix(".")


@functools.cache
def _names() -> dict[str, tuple[str, ...]]:
    known = table()
    rows = (known.modules, known.binaries, known.configs, known.nodes)
    names = {name.rpartition("/")[2]: use.capabilities for row in rows for name, use in row.items()}
    module = {use.link: use.capabilities for use in known.modules.values() if use.link}
    return names | module


def _by_pattern(name: str, base: str) -> tuple[str, ...]:
    known = table()
    for pattern, use in (*known.gpu_nodes.items(), *known.modules.items()):
        loose = pattern.replace("{version}", "*")
        if fnmatch.fnmatchcase(name, loose) or fnmatch.fnmatchcase(base, loose):
            return use.capabilities
    for use in known.sockets:
        if name in use.files:
            return use.capabilities
    return ()


def _uses(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Use]:
    return {name: _use(row) for name, row in rows.items()}


def _use(row: Mapping[str, Any]) -> Use:
    return Use(
        capabilities=tuple(row["for"]),
        required=row.get("need") == "required",
        why=row.get("why", ""),
        hint=row.get("hint", ""),
        files=tuple(row.get("files", ())),
        link=row.get("link", ""),
    )
