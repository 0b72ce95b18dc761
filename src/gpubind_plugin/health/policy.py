# SPDX-License-Identifier: Apache-2.0
"""Which action an event has: the variables of the field first, then policy file and table. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubind_cdi import events
from gpubind_cdi.xids import Action

if TYPE_CHECKING:
    from gpubind_cdi.events import Event
    from gpubind_cdi.xids import Policy

    from gpubind_plugin.config import Health


def judged(event: Event, health: Health, policy: Policy) -> tuple[Action, str]:
    """Give what becomes of the device an event happened to, and the reason.

    An Xid that DP_ENABLE_HEALTHCHECKS names counts as at least unhealthy, one that
    DP_DISABLE_HEALTHCHECKS names as nothing; the first wins.
    """
    if event.kind == events.ECC:
        # An Xid tells how bad it is: this comes beside it.
        action = Action.IGNORE if health.off else Action.SUSPECT
        return action, "memory errors that could not be corrected"
    if event.kind != events.XID:
        return Action.IGNORE, event.message
    xid = policy.xid(event.code)
    reason = f"Xid {xid.number}: {xid.meaning}"
    said = health.says(xid.number)
    if said is None:
        return xid.action, reason
    if not said:
        return Action.IGNORE, reason
    return (xid.action if xid.action.serious else Action.UNHEALTHY), reason
