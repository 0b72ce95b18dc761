# SPDX-License-Identifier: Apache-2.0
"""Mode imex: the channels through which GPUs of several machines share memory, a device each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpubind.errors import UsageError
from gpubind_cdi import select
from gpubind_cdi.discover import nodes
from gpubind_cdi.discover.found import Found
from gpubind_cdi.libraries import Use
from gpubind_cdi.modes import groups
from gpubind_cdi.modes.mode import Described

if TYPE_CHECKING:
    from gpubind_cdi.modes.mode import Host, Options

CHANNELS = "/dev/nvidia-caps-imex-channels/channel"
HIGHEST = (1 << 20) - 1  # the kernel's largest minor number
ID = re.compile(r"(?:channel)?(0|[1-9][0-9]{0,9})", re.ASCII)
USE = Use(required=True, why="IMEX channel")


def describe(host: Host, options: Options) -> Described:
    """Give the channels, each by its number.

    Raises ToolkitError where the host has none, UsageError for an id that is none of them.
    """
    wanted = {number(one) for one in options.device_ids if one not in (select.ALL, select.NONE)}
    every = not options.device_ids or select.ALL in options.device_ids
    known = _known(host)
    if not known and select.NONE not in options.device_ids:
        hint = "see nvidia-modprobe's option -i, and NVreg_CreateImexChannel0 of the kernel module"
        raise groups.none(host, "imex", f"{CHANNELS}[0-9]*", hint)
    for one in sorted(wanted - known.keys()):
        there = ", ".join(map(str, known)) or "none"
        raise UsageError(
            f"no IMEX channel {one} in {host.dev_root.outer(CHANNELS)}*",
            identifier="USE-DEVICE",
            hint=f"there are: {there[:80]}",
        )
    return Described(
        common=Found(),
        devices={(f"{one}",): found for one, found in known.items() if every or one in wanted},
    )


def number(name: str) -> int:
    """Give the number of a channel's name, `3` or `channel3`. Raises UsageError for another."""
    match = ID.fullmatch(name)
    if match is None or int(match[1]) > HIGHEST:
        raise UsageError(
            f"{name!r} is no IMEX channel",
            identifier="USE-DEVICE",
            hint=f"use all, or a number from 0 to {HIGHEST}",
        )
    return int(match[1])


def _known(host: Host) -> dict[int, Found]:
    found = nodes.matching(host.dev_root, f"{CHANNELS}[0-9]*", USE)
    known = {
        int(match[1]): Found(nodes=(one,))
        for one in found.nodes
        if (match := ID.fullmatch(one.path.removeprefix(CHANNELS)))
    }
    return dict(sorted(known.items()))
