# SPDX-License-Identifier: Apache-2.0
"""The engines there are, each loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from gpubind.errors import UsageError

if TYPE_CHECKING:
    from gpubind_ctl.engine.engine import Engine

TABLE = {
    "docker": "gpubind_ctl.engine.docker:Docker",
    "containerd": "gpubind_ctl.engine.containerd:Containerd",
    "crio": "gpubind_ctl.engine.crio:Crio",
    "podman": "gpubind_ctl.engine.podman:Podman",
}


def named(name: str) -> Engine:
    """Give the engine of that name. Raises UsageError where there is none."""
    if name not in TABLE:
        raise UsageError(
            f"unrecognized runtime '{name}'",
            identifier="USE-ENGINE",
            hint=f"use one of {', '.join(TABLE)}",
        )
    module, _, attribute = TABLE[name].partition(":")
    made: Engine = getattr(importlib.import_module(module), attribute)()
    return made
