# SPDX-License-Identifier: Apache-2.0
"""A piece of this package in a Python process of its own, heard line by line with a time limit.

What it said before it hung or crashed is not lost. The process also ends itself, in case nobody is
left to do it: a call that hangs in a driver knows nothing of closed pipes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

LINE_LIMIT = 1 << 20
PREAMBLE = (
    "import sys; sys.path[:] = sys.argv[1:]; import resource, signal; signal.alarm({limit}); "
    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "
)
PATIENCE = 2.0  # seconds a process gets to end, after its last word or a kill

_left: list[int] = []  # processes that even a kill did not end in time


class Child:
    """A process under way and the pipe it speaks into."""

    __slots__ = ("_heard", "_how", "pid", "pipe")

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.pipe = pipe
        self._heard = b""
        self._how: str | None = None

    def line(self, deadline: float) -> bytes:
        """Give the next line, b"" where none comes any more; what ends in mid-line is no line.

        Raises TimeoutError where none came before `deadline`, a time.monotonic(). A process whose
        line is longer than LINE_LIMIT is killed.
        """
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        while b"\n" not in self._heard:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            part = os.read(self.pipe, 1 << 16)
            if not part:
                return b""
            self._heard += part
            if len(self._heard) > LINE_LIMIT:
                self.kill()
                return b""
        first, _, self._heard = self._heard.partition(b"\n")
        return first + b"\n"

    def kill(self) -> None:
        """End the process; `ended` waits for it."""
        if self._how is None:  # else the number may be another's by now
            os.kill(self.pid, signal.SIGKILL)

    def ended(self, *, listening: bool = False) -> str:
        """Wait for the end and say how it was: `signal 6`, `status 1` or nothing.

        The pipe is closed first, unless somebody is still `listening` to it. A process that takes
        longer than PATIENCE is killed. One that even that does not end is reaped by a later
        `start`, or by init.
        """
        if not listening and self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
        if self._how is None:
            self._how = self._end()
        return self._how

    def _end(self) -> str:
        status = _reaped(self.pid, time.monotonic() + PATIENCE)
        if status is None:
            self.kill()
            status = _reaped(self.pid, time.monotonic() + PATIENCE)
        if status is None:
            _left.append(self.pid)
            return "signal 9"
        if status < 0:
            return f"signal {-status}"
        return f"status {status}" if status else ""


def _reaped(pid: int, deadline: float) -> int | None:
    """Give the exit status of a process, None where it has not ended in time."""
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)


def start(program: str, fd: int, number: int, limit_s: float) -> Child:
    """Start Python on the text `program`, with `fd` as its descriptor `number`.

    It has this process's environment and module path, and its standard output is the pipe. It ends
    itself some seconds after `limit_s`, and leaves no core file.
    """
    _left[:] = [pid for pid in _left if _reaped(pid, 0.0) is None]
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        python = sys.executable or "/usr/bin/python3"
        places = [os.path.abspath(path) for path in sys.path]
        text = PREAMBLE.format(limit=int(limit_s + 2 * PATIENCE) + 1) + program
        pid = os.posix_spawn(
            python,
            [python, "-IS", "-c", text, *places],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs, 1),
                (os.POSIX_SPAWN_DUP2, fd, number),
            ],
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Child(pid, ours)


def tell(*words: object) -> None:
    """Say one line, a JSON list: what a child does. Where nobody listens any more it ends."""
    data = memoryview(json.dumps(words).encode() + b"\n")
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        raise SystemExit from None
