# SPDX-License-Identifier: Apache-2.0
"""The plugin's loop: looks at the node when it has changed, and offers what is there.

    mark of the node --changed--> see --> resources --> Service (what is answered), one each
                                                        Keeper  (socket and registration), a task

A look runs aside; meanwhile and after a failed one the services answer with what they know.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gpubind import errors
from gpubind.errors import ToolkitError
from gpubind_plugin import aside, seeing, standing
from gpubind_plugin.keeper import Keeper, backoff
from gpubind_plugin.ports import Ports, Well
from gpubind_plugin.service import Offered, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpubind_plugin.config import Config
    from gpubind_plugin.counts import Counts
    from gpubind_plugin.device import Device
    from gpubind_plugin.logs import Log
    from gpubind_plugin.ports import Health
    from gpubind_plugin.seeing import Seen

AGAIN_S = 1.0  # before a task that has not ended is told so again
ILL_S = 10.0  # while something is not well, the node is looked at so often
FIRST_S, LAST_S = 1.0, 15.0  # before a look that failed
PATIENCE = 2  # so many looks must fail before what is offered is called unhealthy
DRIVER, CONFIG, OFFER = "driver", "configuration", "devices"  # what troubles are about


class Node:
    """A node whose devices are offered as `config` says; `load` gives the configuration anew."""

    __slots__ = (
        *("_due", "_failures", "_health", "_hung_up", "_kept", "_lapsed", "_load", "_log"),
        *(
            "_looking",
            "_mark",
            "_ports",
            "_seen",
            "_services",
            "_standing",
            "_woken",
            "config",
            "counts",
        ),
    )

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        *,
        counts: Counts,
        standing: standing.Standing,
        log: Log,
        ports: Ports = Ports(),  # noqa: B008 - a frozen value
    ) -> None:
        self.config, self._load = config, load
        self.counts, self._standing, self._log = counts, standing, log
        self._ports = ports
        self._health: Health = Well()
        self._services: dict[str, Service] = {}
        self._kept: dict[str, asyncio.Task[None]] = {}
        self._seen: Seen | None = None
        self._mark: object = None
        self._looking: asyncio.Task[None] | None = None
        self._failures, self._due = 0, 0.0
        self._lapsed = False  # what was seen last holds no more
        self._hung_up = False
        self._woken = asyncio.Event()

    def hang_up(self) -> None:
        """Load the configuration anew at the next turn."""
        self._hung_up = True
        self._woken.set()

    def wake(self) -> None:
        """Take the next turn now, as something is another. For the loop's thread."""
        self._woken.set()

    async def run(self) -> None:
        """Offer what is there until cancelled; then nothing is left of it.

        Raises what the first look raises, where the configuration says that this is the end.
        """
        self._standing.begins(DRIVER, standing.STARTING, "looking at the node for the first time")
        loop = asyncio.get_running_loop()
        self._health = self._ports.health(lambda: _soon(loop, self.wake), self._log)
        try:
            while True:
                await self._turn()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._ports.turn_s):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            if self._looking is not None:
                self._looking.cancel()
            self._health.close()
            await self._end()

    async def _turn(self) -> None:
        if self._hung_up:
            self._hung_up = False
            await self._reload()
        if self._looking is None:
            mark = await aside.run(lambda: self._ports.mark(self.config))
            if mark != self._mark or time.monotonic() >= self._due:
                self._mark = mark
                self._looking = asyncio.create_task(self._look(self.config))
                self._looking.add_done_callback(lambda task: self._woken.set())  # noqa: ARG005 - asyncio's signature
        elif self._looking.done():
            looked, self._looking = self._looking, None
            looked.result()
        self._offer()

    async def _reload(self) -> None:
        """Take the new configuration; one that is wrong is said, and the old one holds."""
        try:
            config = await aside.run(self._load)
        except (ToolkitError, OSError) as error:
            message = f"the old configuration holds: {errors.line(error, 'SYS-REFUSED')}"
            if isinstance(error, ToolkitError):
                message = f"the old configuration holds: {error}"
            self._standing.begins(CONFIG, standing.CONFIG, message)
            self.counts.count("configurations", result="failed")
            return
        self._standing.ends(CONFIG)
        self.counts.count("configurations", result="done")
        self._log.info("configuration loaded anew")
        if config.kubelet_socket != self.config.kubelet_socket:
            await self._end()
        self.config, self._mark, self._due = config, None, 0.0

    async def _look(self, config: Config) -> None:
        began = time.monotonic()
        try:
            seen = await aside.run(lambda: self._ports.see(config))
        except Exception as error:  # noqa: BLE001 - a defect in looking is no end of the serving
            self.counts.looked(time.monotonic() - began, "failed")
            if config is self.config:
                self._failed(error)
            return
        self.counts.looked(time.monotonic() - began, "done")
        if config is self.config:
            self._failures, self._due = 0, time.monotonic() + self._ports.again_s
            self._seen, self._lapsed = seen, False
            self._standing.ends(DRIVER)
            self._health.looked(config, seen)
            if self._health.unhealthy() or seen.facts.inventory.faults:
                self._due = min(self._due, time.monotonic() + ILL_S)

    def _failed(self, error: Exception) -> None:
        """Say why the node can't be seen, and keep what is offered for a while; raise at first."""
        if self._seen is None and self.config.fail_on_init_error:
            raise error
        self._failures += 1
        self._due = time.monotonic() + backoff(self._failures, FIRST_S, LAST_S)
        self._health.failed(error)
        reason, message = seeing.trouble(error)
        self._standing.begins(DRIVER, reason, message)
        gone = getattr(error, "identifier", "") in seeing.GONE
        if not gone and self._failures < PATIENCE:
            return
        self._lapsed = True
        self._standing.forget(OFFER)
        for service in self._services.values():
            now = service.offered
            left = () if gone else now.devices
            lost = dict.fromkeys((one.id for one in left), message)
            self._give(service.resource, replace(now, devices=left, unhealthy=lost))

    def _offer(self) -> None:
        """Offer what was seen last, as far as it is well."""
        self.counts.events(self._health.events())
        if self._seen is None or self._lapsed:
            return
        seen = self._seen
        before = {
            name: one.offered.devices
            for name, one in self._services.items()
            if one.offered.config is self.config
        }
        offered, lost = seeing.kept(before, seen)
        ill = self._health.unhealthy()
        for resource in sorted({*offered, *self._services}):
            devices = offered.get(resource, ())
            bad = {one.id: _why(one, ill, lost) for one in devices}
            self._give(
                resource,
                Offered(
                    config=self.config,
                    facts=seen.facts,
                    devices=devices,
                    groups=seen.groups,
                    unhealthy={name: why for name, why in bad.items() if why},
                ),
            )
        self._judge(seen)

    def _judge(self, seen: Seen) -> None:
        """Say where not all is served."""
        offered = [one.offered for one in self._services.values()]
        ill = sorted({f"{name}: {why}" for one in offered for name, why in one.unhealthy.items()})
        if not any(one.devices for one in offered):
            message = "no devices found: waiting for some"
            message = "; ".join((message, *seen.warnings))
            self._standing.begins(OFFER, standing.NO_DEVICES, message)
        elif seen.warnings or ill:
            self._standing.begins(OFFER, standing.PARTIAL, "; ".join((*seen.warnings, *ill)))
        else:
            self._standing.ends(OFFER)

    def _give(self, resource: str, offered: Offered) -> None:
        """Have a resource offer this, and be kept if it has devices."""
        service = self._services.get(resource)
        if service is None:
            service = Service(resource, offered, counts=self.counts, log=self._log)
            self._services[resource] = service
            self._log.info("offered", resource=resource, devices=len(offered.devices))
        elif service.offer(offered):
            ill = len(offered.unhealthy)
            self._log.info(
                "devices changed", resource=resource, devices=len(offered.devices), unhealthy=ill
            )
        self.counts.devices(resource, len(offered.devices), len(offered.unhealthy))
        task = self._kept.get(resource)
        if offered.devices and (task is None or task.done()):
            self._kept[resource] = asyncio.create_task(self._keeper(service).keep())

    def _keeper(self, service: Service) -> Keeper:
        return Keeper(
            service,
            self.config.kubelet_socket,
            standing=self._standing,
            counts=self.counts,
            log=self._log,
            ready=lambda: self._ports.ready(self.config, service.resource),
            turn_s=self._ports.turn_s,
        )

    async def _end(self) -> None:
        """End all keepers: their sockets go, those who watch are let go."""
        tasks, self._kept = {*self._kept.values()}, {}
        while tasks:  # asyncio.wait_for, which gRPC uses, may swallow a cancellation before 3.12
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=AGAIN_S)


def _soon(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    """Have the loop do something; nothing is done where it has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(act)


def _why(device: Device, ill: Mapping[str, str], lost: Mapping[str, str]) -> str:
    """Give why a device should go to nobody, empty where it may."""
    return lost.get(device.id) or ill.get(device.uuid) or ill.get(device.gpu_uuid) or ""
