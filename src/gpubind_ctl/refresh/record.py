# SPDX-License-Identifier: Apache-2.0
"""What the last refresh of a file came to, kept for whoever asks later."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from gpubind_cdi import document, files, sidecar

from gpubind import config
from gpubind_ctl.refresh import once

if TYPE_CHECKING:
    from gpubind_ctl.refresh.job import Job
    from gpubind_ctl.refresh.once import Outcome

ROOM = "refresh"


def place(job: Job) -> str:
    """Give where the record of a job's file lies."""
    return sidecar.path_of(os.path.join(job.state, ROOM), job.output)


def note(job: Job, outcome: Outcome) -> bool:
    """Keep an outcome, with the time, unless it is the one that is known; tell whether it is new.

    A spec that still holds is as good as one just written. A record that can't be written is none.
    """
    state = once.WRITTEN if outcome.state == once.CURRENT else outcome.state
    facts: dict[str, Any] = {
        "output": job.output,
        "state": state,
        "why": outcome.message if outcome.state != once.WRITTEN else "",
        "missing": list(outcome.notes),
        "status": outcome.status,
    }
    known = config.trusted(place(job)) or {}
    if {name: known.get(name) for name in facts} == facts:
        return False
    with contextlib.suppress(OSError):
        files.put(place(job), document.dump({**facts, "since": time.time()}, "json"))
    return True
