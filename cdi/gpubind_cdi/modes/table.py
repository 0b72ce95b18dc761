# SPDX-License-Identifier: Apache-2.0
"""The modes there are, and which one `auto` is on a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind.errors import UsageError
from gpubind_cdi.modes import csv, groups, imex, management, migcaps, nvml, wsl
from gpubind_cdi.modes.mode import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_cdi.modes.mode import Host

AUTO = "auto"
MODES = {
    mode.name: mode
    for mode in (
        Mode(name="nvml", describe=nvml.describe),
        Mode(name="wsl", describe=wsl.describe),
        Mode(name="csv", describe=csv.describe),
        Mode(
            name="management",
            vendor="management.nvidia.com",
            asks_gpus=False,
            describe=management.describe,
        ),
        *groups.modes(),
        *migcaps.modes(),
        Mode(name="imex", device_class="imex-channel", asks_gpus=False, describe=imex.describe),
    )
}

# What speaks for a mode on a host, in this order: each gives its reason, or nothing.
SIGNS: tuple[tuple[str, Callable[[Host], str]], ...] = (
    ("wsl", wsl.sign),
    ("csv", csv.sign),
)


def asks_gpus(name: str) -> bool:
    """Tell whether the mode called `name` may ask who knows the GPUs."""
    known = MODES.get(name.lower())
    return known is None or known.asks_gpus


def resolve(name: str, host: Host) -> tuple[Mode, str]:
    """Give the mode called `name` in any case, and why it is that; `auto` looks at the host.

    Raises UsageError where there is no such mode.
    """
    wanted = name.lower()
    if wanted == AUTO:
        for known, sign in SIGNS:
            reason = sign(host)
            if reason:
                return MODES[known], reason
        return MODES["nvml"], "nothing speaks for another mode"
    if wanted not in MODES:
        raise UsageError(
            f"no discovery mode {name!r}",
            identifier="USE-MODE",
            hint=f"use one of {', '.join((AUTO, *MODES))}",
        )
    return MODES[wanted], "it was asked for"
