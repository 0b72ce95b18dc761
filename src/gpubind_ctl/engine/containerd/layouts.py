# SPDX-License-Identifier: Apache-2.0
"""The kinds of installations of containerd, from layouts.json, and which one this host has."""

from __future__ import annotations

import json
import posixpath
from importlib import resources
from typing import TYPE_CHECKING, Any

from gpubind.errors import UsageError
from gpubind_ctl.engine import engine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubind_ctl.engine.engine import Host, Wants

STANDARD = "standard"


def table() -> list[dict[str, Any]]:
    """Give the kinds of installations that are known, the most particular first."""
    text = resources.files(__package__).joinpath("layouts.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


def chosen(wants: Wants, host: Host) -> Mapping[str, Any]:
    """Give the layout of this host, or the one that is asked for.

    Raises ToolkitError where several are there: it would be a guess which one is meant.
    """
    known = {one["name"]: one for one in table()}
    if wants.layout:
        if wants.layout not in known:
            message = f"--layout {wants.layout}: there is no such layout"
            raise UsageError(message, identifier="USE-LAYOUT", hint=f"use {', '.join(known)}")
        return known[wants.layout]
    if wants.config:
        named = [one for one in known.values() if wants.config in _paths(one)]
        return named[0] if named else known[STANDARD]
    there = [
        one
        for one in known.values()
        if any(host.read(one[key]) is not None for key in ("rendered", "main") if key in one)
    ]
    if len(there) > 1:
        names = " and ".join(str(one["name"]) for one in there)
        message = f"this host has containerd as of {names}"
        raise engine.refused(message, f"say which is meant: --layout {there[0]['name']}")
    return there[0] if there else known[STANDARD]


def _paths(layout: Mapping[str, Any]) -> list[str]:
    given = [layout.get("main"), layout.get("rendered"), *layout.get("templates", {}).values()]
    return [path for path in given if path]


def unit(layout: Mapping[str, Any], host: Host) -> str:
    """Give the unit that starts containerd where that is not containerd's own."""
    if layout["name"] == STANDARD:
        return ""
    return str(next((one for one in layout["units"] if host.unit(one)), layout["units"][0]))


def drop_in(layout: Mapping[str, Any], main: str) -> str:
    """Give the drop-in for a main file: the layout's, else in conf.d beside it."""
    if "drop_in" not in layout:
        return ""
    if main == layout["main"]:
        return str(layout["drop_in"])
    folder, name = posixpath.dirname(main), posixpath.basename(layout["drop_in"])
    return f"{folder}/conf.d/{name}"
