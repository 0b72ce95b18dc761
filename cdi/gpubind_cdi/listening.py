# SPDX-License-Identifier: Apache-2.0
"""Who tells what happens to the GPUs of a root: NVML, or a simulated node's script.

A process of its own says it line by line:

    ["asking", 3]                                           about to watch the GPU with this index
    ["ready"]                                               all are watched
    ["event", {"kind": "xid", "uuid": "GPU-…", "code": 79}] as in `events.Event`
    ["error", 15, "GPU is lost"]                            an nvmlReturn_t: nothing more is told

A GPU that ends the process before it is ready is not watched; the others are.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from gpubind.errors import DocumentError, ToolkitError
from gpubind_cdi import child, document, events, nvml, nvml_process, simulated
from gpubind_cdi.events import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpubind.root import Root
    from gpubind_cdi.nvml_process import Driver

NVML = "from gpubind_cdi import nvml_events as it; it.watch({skip})"
SIMULATED = "from gpubind_cdi import simulated_process as it; it.watch({skip})"
CALL_S = 20.0  # as in nvml_events; a process that has not begun by then ends itself


def to(root: Root, library_search_paths: Sequence[str] = ()) -> Listener:
    """Watch the GPUs of a driver root.

    Raises ToolkitError DRV-NOT-FOUND and DRV-ARCH where the root has no NVML that can be loaded.
    """
    if simulated.is_simulated(root):
        who = nvml_process.driver_in(root)
        return Listener(SIMULATED, os.dup(root.fd), simulated.ROOT_FD, who)
    fd, who = nvml_process.library_in(root, library_search_paths)
    return Listener(NVML, fd, nvml.LIBRARY_FD, who)


class Listener:
    """The process that tells, and what it told: a `GpuEvents`.

    It owns the descriptor `fd`, which the program has as its `number`.
    """

    __slots__ = ("_asking", "_failure", "_fd", "_number", "_process", "_program", "_skip", "_who")

    def __init__(self, program: str, fd: int, number: int, who: Driver) -> None:
        self._program, self._fd, self._number, self._who = program, fd, number, who
        self._skip: list[int] = []
        self._asking: int | None = None
        self._failure: ToolkitError | None = None
        try:
            self._process = self._started()
        except BaseException:
            os.close(fd)
            raise

    def fileno(self) -> int:
        """Give a descriptor for poll(2), another after a call of `wait`; see `events.GpuEvents`."""
        return self._process.pipe

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Give what happened; see `events.GpuEvents`."""
        deadline = time.monotonic() + timeout_s
        told: list[Event] = []
        while self._failure is None:
            try:
                line = self._process.line(0.0 if told else deadline)
            except TimeoutError:
                break
            told += self._taken(line) if line else self._after_end()
        if self._failure is not None and not told:
            raise self._failure
        return told

    def close(self) -> None:
        """End the watching; see `events.GpuEvents`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._process.kill()
            self._process.ended()

    def _started(self) -> child.Child:
        text = self._program.format(skip=self._skip)
        return child.start(text, self._fd, self._number, CALL_S)

    def _taken(self, line: bytes) -> list[Event]:
        """Give the event in a line, if it is one."""
        try:
            match document.load(line, "event.json"):
                case ["asking", int(index)]:
                    self._asking = index
                case ["ready"]:
                    self._asking = None
                case ["event", dict(facts)]:
                    return [Event(**{"time": time.time(), **facts})]
                case ["error", int(code), str(said)]:
                    self._failure = nvml_process.failed(code, said, self._who)
                case other:
                    self._failure = _ended(f"said what makes no sense: {other!a}")
        except (DocumentError, TypeError) as error:
            self._failure = _ended(f"said what makes no sense: {error}")
        return []

    def _after_end(self) -> list[Event]:
        """Begin anew without the GPU that ended the process; where it was none, this is the end."""
        lost = self._asking
        how = self._process.ended(listening=lost is None)
        if lost is None:
            self._failure = self._failure or _ended(f"ended with {how or 'no reason'}")
            return []
        self._asking = None
        self._skip.append(lost)
        self._process = self._started()
        message = f"NVML ended with {how} when asked to watch GPU {lost}"
        return [Event(kind=events.UNWATCHED, time=time.time(), message=message)]


def _ended(what: str) -> ToolkitError:
    return ToolkitError(
        f"the process that watches the GPUs {what}",
        identifier="DRV-EVENTS",
        hint="see dmesg; nvidia-smi may show the same",
    )
