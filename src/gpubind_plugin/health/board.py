# SPDX-License-Identifier: Apache-2.0
"""How well all devices of a node are: told by events and by looks, asked for by who serves them.

Any thread may do either. Whoever is to hear of changes is called by the thread that made one, once
for each event or look that changed the level of or the reason for any device; a thousand events of
an ill GPU change nothing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from gpubind_cdi import xids

from gpubind_plugin import config
from gpubind_plugin.health import policy, state
from gpubind_plugin.health.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpubind_cdi.events import Event
    from gpubind_cdi.gpu import Gpu
    from gpubind_cdi.inventory import Inventory

    Parts = dict[str, tuple[int, int]]


class Board:
    """The states of GPUs and MIG devices, by UUID.

    `changed` is called without arguments, never while a lock is held; `clock` gives seconds since
    the epoch. `events` counts what was told, as `xid 79`.
    """

    def __init__(
        self, changed: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.time
    ) -> None:
        self.events: Counter[str] = Counter()
        self._changed, self._clock = changed, clock
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._parts: dict[str, Parts] = {}  # by GPU, each MIG device's gi and ci
        self._driver = ""
        self._health, self._policy = config.Health(), xids.Policy()

    def govern(self, health: config.Health, rules: xids.Policy) -> None:
        """Go by these rules from now on; what was known is forgotten."""
        with self._lock:
            self._health, self._policy = health, rules
            self._states = {name: State(since=self._clock()) for name in self._states}

    def report(self, event: Event) -> None:
        """Hear what happened to a GPU.

        What happened to a whole GPU happened to all its MIG devices, and where nobody says to
        which GPU, to all. What happened to a MIG device happened to it alone.
        """
        with self._lock:
            self.events[f"{event.kind} {event.code}" if event.code else event.kind] += 1
            action, reason = policy.judged(event, self._health, self._policy)
            now = self._clock()
            changes = {
                name: state.happened(self._states[name], action, reason, now)
                for name in self._touched(event)
            }
            told = self._take(changes)
        if told:
            self._changed()

    def looked(self, found: Inventory, *, parts: bool = True) -> None:
        """Hear what a look gave; without `parts` MIG devices are part of their GPU."""
        with self._lock:
            if self._driver != found.driver:
                self._states.clear()  # another driver has begun anew with all GPUs
                self._parts.clear()
            self._driver = found.driver
            changes: dict[str, State] = {}
            for gpu in found.gpus:
                self._know(gpu, parts=parts)
                changes |= {name: self._seen(gpu, name) for name in self._units(gpu.uuid)}
            there = {gpu.uuid for gpu in found.gpus}
            why = "; ".join(sorted({fault.message for fault in found.faults}))
            reason = f"it can't be read: {why}" if why else "it is not there any more"
            for uuid in self._parts.keys() - there:
                for name in self._units(uuid):
                    changes[name] = state.failed(self._states[name], reason, self._clock())
            told = self._take(changes)
        if told:
            self._changed()

    def snapshot(self) -> dict[str, State]:
        """Give the state of each GPU and MIG device by its UUID."""
        with self._lock:
            return dict(self._states)

    def unhealthy(self) -> dict[str, str]:
        """Give the UUIDs of what is given to nobody, with the reasons."""
        return {
            name: f"{one.level}: {one.reason}"
            for name, one in self.snapshot().items()
            if not one.served
        }

    def _know(self, gpu: Gpu, *, parts: bool) -> None:
        """Take in which MIG devices a GPU has now."""
        now = {mig.uuid: (mig.gi, mig.ci) for mig in gpu.mig} if parts else {}
        for gone in self._parts.get(gpu.uuid, {}).keys() - now.keys():
            self._states.pop(gone, None)
        self._parts[gpu.uuid] = now
        for name in self._units(gpu.uuid):
            self._states.setdefault(name, State(since=self._clock()))

    def _units(self, uuid: str) -> Iterable[str]:
        return (uuid, *self._parts[uuid])

    def _seen(self, gpu: Gpu, name: str) -> State:
        before, now = self._states[name], self._clock()
        if gpu.recovery not in ("", "none") and not self._health.off:
            return state.asked(before, gpu.recovery, now)
        rules = self._policy.recovery
        return state.clean(before, now, rules, well=gpu.recovery == "none")

    def _touched(self, event: Event) -> list[str]:
        """Give what an event happened to; nothing where no such device is known."""
        if not event.uuid:
            return list(self._states)
        parts = self._parts.get(event.uuid)
        if parts is None:
            return []
        if event.gi is None or not parts:
            return [event.uuid, *parts]
        return [
            name for name, (gi, ci) in parts.items() if gi == event.gi and event.ci in (None, ci)
        ]

    def _take(self, changes: dict[str, State]) -> bool:
        """Take in new states; tell whether somebody should hear of it."""
        told = any(
            (one.level, one.reason) != (self._states[name].level, self._states[name].reason)
            for name, one in changes.items()
        )
        self._states |= changes
        return told
