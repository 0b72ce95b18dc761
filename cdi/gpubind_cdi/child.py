# SPDX-License-Identifier: Apache-2.0
"""A piece of this package in a Python process of its own, heard with a time limit."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

ANSWER_LIMIT = 4 << 20
PREAMBLE = "import sys; sys.path[:] = sys.argv[1:]; "
PATIENCE = 2.0  # seconds a process gets to end, after its last word or a kill


class Child:
    """A process under way and the pipe it speaks into."""

    __slots__ = ("pid", "pipe")

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.pipe = pipe

    def heard(self, timeout: float) -> bytes:
        """Give all it printed, wait for its end, and leave no zombie behind.

        Raises TimeoutError where it has not ended after `timeout` seconds or printed more than
        ANSWER_LIMIT, ChildProcessError (`ended with signal 11`) where it failed.
        """
        whole = False
        try:
            data = self._printed(time.monotonic() + timeout)
            whole = data is not None
        finally:
            os.close(self.pipe)
            status = self._reaped(kill=not whole)
        if data is None:
            raise TimeoutError
        if status:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            raise ChildProcessError(f"ended with {how}")
        return data

    def _printed(self, deadline: float) -> bytes | None:
        """Give all that comes until the end, or None where there is none in time."""
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        data = bytearray()
        while len(data) < ANSWER_LIMIT:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            part = os.read(self.pipe, 1 << 16)
            if not part:
                return bytes(data)
            data += part
        return None

    def _reaped(self, *, kill: bool) -> int:
        """Give the exit status; a process that even a kill does not end is left to init."""
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        return -signal.SIGKILL if kill else self._reaped(kill=True)


def start(program: str, fd: int, number: int) -> Child:
    """Start Python on the text `program`, with `fd` as its descriptor `number`.

    It has this process's environment and module path, and its standard output is the pipe.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        python = sys.executable or "/usr/bin/python3"
        places = [os.path.abspath(path) for path in sys.path]
        pid = os.posix_spawn(
            python,
            [python, "-IS", "-c", PREAMBLE + program, *places],
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
