# SPDX-License-Identifier: Apache-2.0
"""What the driver tells of its GPUs, as a source for the resident service.

A driver that tells no more ends nothing: it is listened to anew after a while.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gpubind_cdi import events

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_cdi.events import Event, GpuEvents

OFF_THE_BUS = 79  # the Xid of a GPU that does not answer any more
REST_S = 60.0  # between two attempts to listen to a driver that does not let us


class Gpus:
    """A source that begins to listen by `begin`, and ends when the GPUs have changed."""

    __slots__ = ("_begin", "_clock", "_rests_until", "_source")

    def __init__(
        self, begin: Callable[[], GpuEvents], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._begin = begin
        self._clock = clock
        self._rests_until = 0.0
        self._source: GpuEvents | None = None

    def begin(self) -> None:
        """Listen to the GPUs there are now, if that is not done yet."""
        if self._source is None and self._clock() >= self._rests_until:
            try:
                self._source = self._begin()
            except (ToolkitError, OSError):
                self._rest()

    def fileno(self) -> int:
        """Give a descriptor for poll(2), -1 while nobody is listened to."""
        return -1 if self._source is None else self._source.fileno()

    def heard(self) -> str:
        """Give what happened to a GPU that a spec may have to follow; empty for nothing."""
        if self._source is None:
            return ""
        try:
            told = self._source.wait(0.0)
        except ToolkitError:
            self._rest()
            return "the driver, which tells no more of its GPUs"
        return next((f"{one.kind} of GPU {one.uuid}" for one in told if _matters(one)), "")

    def close(self) -> None:
        """Listen no more; `begin` does anew."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _rest(self) -> None:
        self.close()
        self._rests_until = self._clock() + REST_S


def _matters(event: Event) -> bool:
    lost = event.kind == events.XID and event.code == OFF_THE_BUS
    return lost or event.kind == events.MIG
