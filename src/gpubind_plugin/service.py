# SPDX-License-Identifier: Apache-2.0
"""What the kubelet is answered about one resource. Sockets and registration are the keeper's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpubind import errors
from gpubind.errors import ToolkitError
from gpubind_plugin import allocate, preferred
from gpubind_plugin.api import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from gpubind_plugin.config import Config
    from gpubind_plugin.counts import Counts
    from gpubind_plugin.device import Device
    from gpubind_plugin.facts import Facts
    from gpubind_plugin.logs import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A resource's devices, and what the answers about them depend on.

    `groups` are the extra CDI classes that have specs, `unhealthy` has the ids of devices that
    nobody should get, each with the reason.
    """

    config: Config
    facts: Facts
    devices: tuple[Device, ...] = ()
    groups: tuple[str, ...] = ()
    unhealthy: Mapping[str, str] = field(default_factory=dict, hash=False)


class Service:
    """The device plugin service of one resource, such as `nvidia.com/gpu`.

    `offer` may be called at any time, in the thread of the event loop: a list of devices is sent
    when it is another than the last, to each who watches.
    """

    __slots__ = ("_changed", "_counts", "_list", "_log", "_open", "offered", "resource")

    def __init__(self, resource: str, offered: Offered, *, counts: Counts, log: Log) -> None:
        self.resource = resource
        self.offered = offered
        self._counts, self._log = counts, log
        self._list = wire.listed(offered.devices, offered.unhealthy)
        self._changed = asyncio.Event()
        self._open = True

    def offer(self, offered: Offered) -> bool:
        """Have another set of devices; tell whether that is sent to those who watch."""
        if offered == self.offered:
            return False
        self.offered = offered
        listed = wire.listed(offered.devices, offered.unhealthy)
        if listed == self._list:
            return False
        self._list = listed
        self._wake()
        return True

    def close(self) -> None:
        """Let those who watch go; a new call of `watch` waits for `open`."""
        self._open = False
        self._wake()

    def open(self) -> None:
        """Serve those who watch from now on."""
        self._open = True

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def options(self, request: Any) -> Any:
        """Give what the kubelet is told that we can do."""
        del request
        return wire.options()

    async def watch(self) -> AsyncIterator[bytes]:
        """Give the list of devices, and again when it is another; of several at once the last."""
        sent = b""
        first = True
        while self._open:
            if first or self._list != sent:
                first, sent = False, self._list
                yield sent
            else:
                await self._changed.wait()

    def allocate(self, request: Any) -> Any:
        """Give what each container gets; errors as for `allocate.answer`."""
        now = self.offered
        try:
            answers = [
                allocate.answer(
                    now.config, now.facts, self.resource, now.devices, one.devices_ids, now.groups
                )
                for one in request.container_requests
            ]
        except ToolkitError as error:
            self._counts.count("allocation_errors", resource=self.resource)
            self._log.warning(error.message, resource=self.resource)
            raise
        for one in request.container_requests:
            self._counts.count("allocations", resource=self.resource)
            self._log.info("allocated", resource=self.resource, devices=",".join(one.devices_ids))
        return wire.allocated(answers)

    def preferred(self, request: Any) -> Any:
        """Give the devices we would choose for each container; what refuses is a ToolkitError."""
        choices = [
            self._chosen(
                one.available_deviceIDs, one.must_include_deviceIDs, max(one.allocation_size, 0)
            )
            for one in request.container_requests
        ]
        return wire.preferred(choices)

    def _chosen(
        self, available: Sequence[str], required: Sequence[str], size: int
    ) -> Sequence[str]:
        """Choose; where the chooser fails in what it should know, any that fit are good enough."""
        now = self.offered
        try:
            return preferred.answer(
                now.config, now.facts, now.devices, list(available), list(required), size
            )
        except ToolkitError:
            raise
        except Exception as error:  # noqa: BLE001 - a preference is a wish: no pod is refused for our fault
            self._log.warning(errors.line(error, "SYS-REFUSED"), resource=self.resource)
            return first_fit(now, available, required, size)

    def pre_start(self, request: Any) -> Any:
        """Give nothing: there is nothing to do before a container starts."""
        del request
        return wire.started()


def first_fit(
    offered: Offered, available: Sequence[str], required: Sequence[str], size: int
) -> Sequence[str]:
    """Choose the required devices and then the first that are there, in the order we offer them."""
    order = {device.id: place for place, device in enumerate(offered.devices)}
    others = sorted(set(available) - set(required), key=lambda one: (order.get(one, -1), one))
    return [*required, *others][: max(size, len(required))]
