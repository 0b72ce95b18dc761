# SPDX-License-Identifier: Apache-2.0
"""Listens to what the driver tells of GPUs, in a thread, and keeps the board by it and by looks.

A driver that hangs, dies or refuses costs the listening, not the serving: it is begun anew, after
longer and longer waits, and the looks at the node go on. After the GPUs have changed it is begun
anew too, as a new GPU is not listened to.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING

from gpubind_cdi import listening, simulated, xids

from gpubind import errors
from gpubind.errors import ToolkitError
from gpubind.root import Root
from gpubind_plugin import facts
from gpubind_plugin.health.board import Board

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_cdi.events import Event, GpuEvents

    from gpubind_plugin.config import Config
    from gpubind_plugin.facts import Facts, Roots
    from gpubind_plugin.logs import Log
    from gpubind_plugin.seeing import Seen

LONGEST_S = 60.0
PATIENCE_S = 5.0  # for the thread to end


def listen(roots: Roots) -> GpuEvents:
    """Listen to the GPUs of a simulated node, or of the driver root; see `listening.to`."""
    with Root(roots.driver) as driver, Root(roots.dev) as nodes:
        told = next((one for one in (driver, nodes) if simulated.is_simulated(one)), driver)
        return listening.to(told)


class Watch:
    """Who knows which GPUs are not well: what `gpubind_plugin.node` calls Health.

    `changed` is called, by any thread, when a device's health is another; `log` gets a line for
    each device that is.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        log: Log,
        *,
        listen: Callable[[Roots], GpuEvents] = listen,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.board = Board(self._tell, clock)
        self.starts = 0  # how often listening was begun
        self._hearer, self._log, self._listen = changed, log, listen
        self._config: Config | None = None
        self._told: dict[str, tuple[str, str]] = {}
        self._wanted: tuple[object, Roots] | None = None
        self._thread: threading.Thread | None = None
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closed = False

    def looked(self, config: Config, seen: Seen) -> None:
        """Hear what a look gave. A configuration that is another begins everything anew."""
        if config is not self._config:
            self._config = config
            self._govern(config)
        self.board.looked(seen.facts.inventory, parts=config.mig_strategy != "none")
        on = seen.facts.platform == facts.NVML and not config.health.off
        wanted = (_mark(seen.facts), seen.facts.roots) if on else None
        if wanted != self._wanted:
            self._wanted = wanted
            if self._thread is not None:
                self._ring()
            elif wanted is not None:
                self._thread = threading.Thread(target=self._run, name="health", daemon=True)
                self._thread.start()

    def failed(self, error: Exception) -> None:
        """Hear that nothing could be seen: that says nothing of any single GPU."""

    def unhealthy(self) -> dict[str, str]:
        """Give the UUIDs of GPUs and MIG devices that nobody should get, with the reasons."""
        return self.board.unhealthy()

    def events(self) -> dict[str, int]:
        """Give how often each thing was told so far, as `xid 79`."""
        return dict(self.board.events)

    def close(self) -> None:
        """End the listening."""
        if self._closed:
            return
        self._closed = True
        self._ring()
        if self._thread is not None:
            self._thread.join(PATIENCE_S)
        if self._thread is None or not self._thread.is_alive():
            os.close(self._bell)

    def _govern(self, config: Config) -> None:
        """Take the rules of a configuration; without those of a policy file that is wrong."""
        try:
            rules = xids.load(config.health.policy_file)
        except (ToolkitError, OSError) as error:
            why = _line(error)
            self._log.warning(f"the table of Xids holds without the policy file: {why}")
            rules = xids.Policy()
        self.board.govern(config.health, rules)

    def _tell(self) -> None:
        """Say which devices are not as they were, and have whoever asked hear of it."""
        now = {name: (one.level.value, one.reason) for name, one in self.board.snapshot().items()}
        for name, (level, reason) in now.items():
            if self._told.get(name, ("healthy", "")) != (level, reason):
                self._log.warning("health changed", device=name, health=level, reason=reason)
        self._told = now
        self._hearer()

    def _ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    def _run(self) -> None:
        failures = 0
        while not self._closed:
            wanted = self._wanted
            if wanted is None:
                self._wait(LONGEST_S)
                continue
            began = time.monotonic()
            try:
                self.starts += 1
                with contextlib.closing(self._listen(wanted[1])) as source:
                    self._hear(source, wanted)
            except Exception as error:  # noqa: BLE001 - a defect in listening is no end of the looks
                failures = 1 if time.monotonic() - began > LONGEST_S else failures + 1
                wait = min(2.0 ** min(failures, 10), LONGEST_S)
                self._log.warning(f"nobody listens to the GPUs for {wait:.0f} s: {_line(error)}")
                self._wait(wait)

    def _hear(self, source: GpuEvents, wanted: object) -> None:
        """Report what is told until something else is wanted."""
        while not self._closed and self._wanted is wanted:
            poll = select.poll()
            poll.register(source.fileno(), select.POLLIN)
            poll.register(self._bell, select.POLLIN)
            if any(fd != self._bell for fd, _ in poll.poll(LONGEST_S * 1000)):
                for event in source.wait(0.0):
                    self._hear_one(event)
            self._wait(0.0)

    def _hear_one(self, event: Event) -> None:
        if event.message:
            self._log.warning(event.message, kind=event.kind, device=event.uuid)
        self.board.report(event)

    def _wait(self, seconds: float) -> None:
        """Wait until somebody rings, or so long."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if poll.poll(seconds * 1000):
            os.eventfd_read(self._bell)


def _mark(known: Facts) -> object:
    """Give what is another value when other GPUs or MIG devices are to be listened to."""
    found = known.inventory
    return found.driver, tuple((gpu.uuid, gpu.mig_enabled) for gpu in found.gpus)


def _line(error: Exception) -> str:
    return str(error) if isinstance(error, ToolkitError) else errors.line(error, "SYS-REFUSED")
