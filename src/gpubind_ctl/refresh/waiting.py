# SPDX-License-Identifier: Apache-2.0
"""A refresh that waits for a driver that comes late: by cheap looks at a few files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gpubind_ctl.refresh import once, presence

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubind_ctl.refresh.job import Job
    from gpubind_ctl.refresh.once import Outcome

STEP_S = 0.25  # between looks at the file system
AGAIN_S = 2.0  # before a driver that failed is asked again
LATE = frozenset(
    {
        *("DRV-NOT-FOUND", "DRV-NOT-LOADED", "DRV-NO-GPU", "DRV-CHANGING"),
        *("DRV-NVML", "DRV-TIMEOUT", "DRV-CRASH", "SYS-REFUSED"),
    }
)
"""Failures that a driver has that is not ready; others do not end by waiting."""


def refresh(
    job: Job,
    wait_s: float,
    tell: Callable[[str], None],
    *,
    force: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Do `once.refresh` when the driver is there, or after `wait_s` seconds; errors as there.

    `tell` hears what is waited for, once for each thing. A host without GPU waits for nothing.
    """
    deadline = time.monotonic() + wait_s
    waits = wait_s > 0 and presence.hardware(job)
    told = ""
    while True:
        reason = presence.lacking(job) if waits else ""
        pause = STEP_S
        if not reason or time.monotonic() >= deadline:
            outcome = once.refresh(job, force=force)
            late = waits and outcome.identifier in LATE
            if not late or time.monotonic() >= deadline:
                return outcome
            reason, pause = outcome.message, AGAIN_S
        if reason != told:
            told = reason
            tell(f"waiting up to {max(deadline - time.monotonic(), 0):.0f} s: {reason}")
        sleep(min(pause, max(deadline - time.monotonic(), 0.0)))
