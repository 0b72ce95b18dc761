# SPDX-License-Identifier: Apache-2.0
"""What stands in for NVML's process on a simulated node with a script: it plays the script.

The node's root is descriptor 3. See `asking` and `listening` for the lines that are told.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING, Any

from gpubind.root import Root
from gpubind_cdi import child, events, script, simulated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind_cdi.script import Act, Played

TICK_S = 0.05


def answer(only: int | None = None) -> None:
    """Say what is in the inventory, and play what the script has made of it by now."""
    with Root(f"/proc/self/fd/{simulated.ROOT_FD}") as root:
        if only is None:
            script.count_look(root)
        node = simulated.loaded(root)
        if "error" in node:
            child.tell("error", *node["error"])
            return
        ills = script.ills(script.read(root), script.played(root))
        gpus = node["gpus"]
        child.tell("driver", node["driver"], len(gpus))
        for index, gpu in enumerate(gpus):
            if only in (None, index):
                child.tell("asking", index)
                _tell(gpu, ills.get(gpu["uuid"], ""))
        if only is None:
            child.tell("links", node.get("links", []))
        child.tell("end", len(simulated.loaded(root)["gpus"]))


def _tell(gpu: dict[str, Any], ill: str) -> None:
    if ill == "hang":
        time.sleep(script.NEVER_S)
    if ill == "abort":
        os.abort()
    if ill == "lost":
        child.tell("fault", "GPU is lost")
    else:
        child.tell("gpu", gpu)


def watch(_: Sequence[int] = ()) -> None:
    """Say what the script has watchers told, each when its time comes, until nobody listens."""
    signal.alarm(0)
    with Root(f"/proc/self/fd/{simulated.ROOT_FD}") as root:
        acts = script.read(root)
        seen = _happened(acts, script.played(root)) if acts else set()
        child.tell("ready")
        poll = select.poll()
        poll.register(1, 0)  # an error only: nobody reads any more
        while not poll.poll(TICK_S * 1000):
            now = _happened(acts, script.played(root)) if acts else set()
            for number in sorted(now - seen):
                child.tell("event", _event(acts[number]))
            seen = now


def _happened(acts: Sequence[Act], now: Played) -> set[int]:
    """Give the places of the acts that watchers know of by now."""
    return {
        place
        for place, act in enumerate(acts)
        if (act.verb in script.TOLD and act.due(now))
        or (act.verb == "partition" and place in now.done)
    }


def _event(act: Act) -> dict[str, Any]:
    kind = events.MIG if act.verb == "partition" else act.verb
    beside = {name: act.facts[name] for name in ("gi", "ci") if name in act.facts}
    return {"kind": kind, "uuid": act.gpu, "code": act.facts.get("xid", 0), **beside}
