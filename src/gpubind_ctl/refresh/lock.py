# SPDX-License-Identifier: Apache-2.0
"""The lock of a refresh: whoever comes second waits, and then finds the work done."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from gpubind_cdi import sidecar

from gpubind.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubind_ctl.refresh.job import Job

LIMIT_S = 120.0  # four looks at a driver that does not answer
ROOM = "locks"
_STEP_S = 0.02


@contextlib.contextmanager
def held(job: Job, limit_s: float = LIMIT_S) -> Iterator[None]:
    """Hold the lock of a job's file. Raises ToolkitError REFRESH-BUSY after `limit_s` seconds."""
    folder = os.path.join(job.state, ROOM)
    os.makedirs(folder, 0o755, exist_ok=True)
    file = f"{sidecar.path_of(folder, job.output)}.lock"
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _wait_for(fd, job.output, limit_s)
        yield
    finally:
        os.close(fd)


def _wait_for(fd: int, output: str, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ToolkitError(
                    f"another refresh of {output} has not ended in {limit_s:g} s",
                    identifier="REFRESH-BUSY",
                    hint="look for a process 'gpubind cdi refresh' that hangs",
                ) from None
            time.sleep(_STEP_S)
        else:
            return
