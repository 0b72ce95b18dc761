# SPDX-License-Identifier: Apache-2.0
"""The resident service: waits for something to happen, then has one look, however much happened.

What the kernel tells at once comes from descriptors. For what it does not tell, `changed` is asked
every `interval_s` seconds: a few stats.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

QUIET_S = 1.0  # nothing more must happen for so long before we look
LONGEST_S = 10.0  # but we look after this, even if things go on
INTERVAL_S = 10.0
HANGUP = "SIGHUP"


class Source(Protocol):
    """Whatever tells that something happened, by a descriptor."""

    def fileno(self) -> int:
        """Give a descriptor for poll(2), readable when there is something to hear; -1 for none."""

    def heard(self) -> str:
        """Take all there is to hear, without waiting; give what matters of it, empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long things take, in seconds; see the constants above."""

    quiet_s: float = QUIET_S
    longest_s: float = LONGEST_S
    interval_s: float = INTERVAL_S


class Stopped(BaseException):
    """The service was told to end, whatever it is doing now."""


class Hangup:
    """SIGHUP as a source: a pipe into which its handler writes."""

    __slots__ = ("_reader", "_writer")

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        """Give the pipe's end for poll(2)."""
        return self._reader

    def heard(self) -> str:
        """Give the signal's name where it came."""
        with contextlib.suppress(BlockingIOError):
            return HANGUP if os.read(self._reader, 4096) else ""
        return ""

    def note(self, number: int, frame: FrameType | None) -> None:
        """Be the signal's handler."""
        del number, frame
        with contextlib.suppress(BlockingIOError):  # it is full of the same
            os.write(self._writer, b"\0")


@contextlib.contextmanager
def signals() -> Iterator[Hangup]:
    """Have SIGTERM and SIGINT end what runs inside, quietly, and give SIGHUP as a source."""
    hangup = Hangup()
    handlers = {signal.SIGTERM: _stop, signal.SIGINT: _stop, signal.SIGHUP: hangup.note}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with contextlib.suppress(Stopped):
            yield hangup
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise Stopped


def watch(
    sources: Callable[[], Sequence[Source]],
    look: Callable[[str], float],
    changed: Callable[[], str],
    times: Times,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Look once, then after whatever happens; until `Stopped`.

    `look` is told why, and gives after how many seconds to look again though nothing happens,
    0 for never. `sources` is asked anew after each look.
    """
    again = look("")
    while True:
        listening = sources()
        due = clock() + again if again else float("inf")
        reason = ""
        while not reason:
            left = min(times.interval_s, max(due - clock(), 0.0))
            reason = heard(listening, left) or changed()
            if not reason and clock() >= due:
                reason = "another try"
        again = look(_settled(listening, reason, times, clock))


def _settled(
    listening: Sequence[Source], reason: str, times: Times, clock: Callable[[], float]
) -> str:
    """Wait until nothing more happens; give what was most urgent."""
    end = clock() + times.longest_s
    while clock() < end:
        more = heard(listening, times.quiet_s)
        if not more:
            break
        reason = HANGUP if HANGUP in (more, reason) else more
    return reason


def heard(listening: Sequence[Source], timeout_s: float) -> str:
    """Wait for what matters and give it; empty where nothing did in `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        ready = _ready(listening, max(deadline - time.monotonic(), 0.0))
        reasons = [source.heard() for source in ready]
        if any(reasons) or not ready:
            return next(filter(None, reasons), "")


def _ready(listening: Sequence[Source], timeout_s: float) -> list[Source]:
    """Give the sources that have something to say; their descriptors may be others each time."""
    poller = select.poll()
    known = {source.fileno(): source for source in listening}
    for number in known:
        if number >= 0:
            poller.register(number, select.POLLIN)
    return [known[number] for number, _ in poller.poll(timeout_s * 1000)]
