# SPDX-License-Identifier: Apache-2.0
"""What one device is, and what an event or a look at it makes of it. Pure: the time is given.

    healthy --suspect--> suspect --clean looks--> healthy
    healthy, suspect --serious--> unhealthy --clean look--> recovering --clean looks--> healthy
    recovering --anything--> unhealthy, and the next recovery takes twice as long

A device that needs a reset begins to recover only where somebody can tell that it was reset: the
driver asks for nothing any more, or the device was away and is back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from gpubind_cdi.xids import Action, Recovery

LONGEST_S = 3600
FEW = Recovery(probes=1, wait=0)  # for what the look itself refutes


class Level(StrEnum):
    """How well a device is."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    UNHEALTHY = "unhealthy"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A device's level, the reason, and since when, in seconds since the epoch.

    `last` is when something bad was told last, `clean` how many looks since were clean, `falls`
    how often it got worse again while or soon after it recovered. `reset` is whether it needs a
    reset, `seen` whether only looks, no event, found it ill.
    """

    level: Level = Level.HEALTHY
    reason: str = ""
    since: float = 0.0
    last: float = 0.0
    clean: int = 0
    falls: int = 0
    reset: bool = False
    seen: bool = False

    @property
    def served(self) -> bool:
        """Whether the device is given out."""
        return self.level in (Level.HEALTHY, Level.SUSPECT)


def happened(state: State, action: Action, reason: str, now: float) -> State:
    """Give what an event makes of a device."""
    if action in (Action.IGNORE, Action.RESTART_APP):
        return state
    if not action.serious:
        if state.level is Level.HEALTHY:
            return _changed(state, Level.SUSPECT, reason, now)
        return replace(state, last=now, clean=0)
    reset = action is not Action.UNHEALTHY
    if state.level is Level.UNHEALTHY:
        worse = (reset and not state.reset) or state.seen
        reason = reason if worse else state.reason
        reset = reset or state.reset
        return replace(state, reason=reason, last=now, clean=0, reset=reset, seen=False)
    return replace(_fallen(state, reason, now), reset=reset, seen=False)


def failed(state: State, reason: str, now: float) -> State:
    """Give what a look makes of a device that could not be read, or is not there."""
    if state.level is Level.UNHEALTHY:
        return replace(state, last=now, clean=0, reset=False)  # it is another when it is back
    return replace(_fallen(state, reason, now), reset=False, seen=True)


def asked(state: State, action: str, now: float) -> State:
    """Give what a look makes of a device for which the driver asks for an action, as `reset`."""
    if state.level is Level.UNHEALTHY and state.reset:
        return replace(state, last=now, clean=0)
    return happened(state, Action.RESET, f"the driver asks for: {action}", now)


def clean(state: State, now: float, recovery: Recovery, *, well: bool = False) -> State:
    """Give what a look makes of a device that can be read; `well` where the driver says so."""
    if state.level is Level.HEALTHY:
        forgiven = state.falls and now - state.since > LONGEST_S
        return replace(state, falls=0) if forgiven else state
    if state.level is Level.UNHEALTHY and not _may_recover(state, recovery, well=well):
        return state
    looks = state.clean + 1
    rules = FEW if state.seen and not state.falls else recovery
    wait = min(rules.wait * 2**state.falls, max(LONGEST_S, rules.wait))
    if looks >= rules.probes and now - state.last >= wait:
        return replace(_changed(state, Level.HEALTHY, "", now), last=state.last)
    if state.level is Level.UNHEALTHY:
        state = replace(_changed(state, Level.RECOVERING, state.reason, now), last=state.last)
    return replace(state, clean=looks)


def _may_recover(state: State, recovery: Recovery, *, well: bool) -> bool:
    if not recovery.enabled:
        return False
    return well or not state.reset


def _fallen(state: State, reason: str, now: float) -> State:
    """Give a device that is unhealthy from now on."""
    again = state.level is Level.RECOVERING or state.falls or _was_ill(state, now)
    falls = min(state.falls + 1, 16) if again else 0
    return replace(_changed(state, Level.UNHEALTHY, reason, now), falls=falls)


def _was_ill(state: State, now: float) -> bool:
    return state.level is Level.HEALTHY and state.last > 0 and now - state.since < LONGEST_S


def _changed(state: State, level: Level, reason: str, now: float) -> State:
    return replace(state, level=level, reason=reason, since=now, last=now, clean=0)
