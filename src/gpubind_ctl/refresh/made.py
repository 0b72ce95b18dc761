# SPDX-License-Identifier: Apache-2.0
"""How a spec was made, as its sidecar keeps it: a later look tells by it whether the spec holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpubind_cdi import signs

from gpubind import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubind_cdi.generate import Generated
    from gpubind_cdi.signs import Signs

    from gpubind_ctl.refresh.job import Job

BY = f"gpubind {VERSION}"


def told(generated: Generated, job: Job, taken: Signs) -> Generated:
    """Give what was generated for a job with how that was done in its sidecar."""
    lost = list(map(str, generated.missing))
    made = {"by": BY, "asked": job.asked(), "signs": taken, "missing": lost}
    return replace(generated, sidecar={**generated.sidecar, "made": made})


def holds(job: Job, made: Mapping[str, Any]) -> bool:
    """Tell whether a spec made so would be made alike now; one that lacks something never is."""
    by, asked, lost = (made.get(name) for name in ("by", "asked", "missing"))
    return by == BY and asked == job.asked() and lost == [] and not signs.difference(made["signs"])
