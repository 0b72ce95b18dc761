# SPDX-License-Identifier: Apache-2.0
"""A device goes from healthy to unhealthy by events and looks, and back by clean looks."""

from __future__ import annotations

import pytest
from gpubind_cdi.xids import Action, Recovery

from gpubind_plugin.health import state
from gpubind_plugin.health.state import Level, State

RULES = Recovery(probes=3, wait=60)


def looks(known: State, *times: float, well: bool = False, rules: Recovery = RULES) -> State:
    for now in times:
        known = state.clean(known, now, rules, well=well)
    return known


def ill(action: Action = Action.UNHEALTHY, now: float = 100.0) -> State:
    return state.happened(State(), action, "Xid 54", now)


@pytest.mark.parametrize("action", [Action.IGNORE, Action.RESTART_APP])
def test_what_hurts_only_a_program_changes_nothing(action: Action) -> None:
    assert state.happened(State(), action, "Xid 13", 100.0) == State()


@pytest.mark.parametrize(
    ("action", "level"),
    [
        (Action.SUSPECT, Level.SUSPECT),
        (Action.UNHEALTHY, Level.UNHEALTHY),
        (Action.RESET, Level.UNHEALTHY),
        (Action.DRAIN, Level.UNHEALTHY),
    ],
)
def test_an_event_has_a_level_a_reason_and_a_time(action: Action, level: Level) -> None:
    known = ill(action)
    assert (known.level, known.reason, known.since) == (level, "Xid 54", 100.0)
    assert known.served is (level is Level.SUSPECT)


def test_a_suspect_is_healthy_after_clean_looks() -> None:
    known = ill(Action.SUSPECT)
    assert looks(known, 110, 120, 130).level is Level.SUSPECT
    assert looks(known, 110, 130, 160).level is Level.HEALTHY


def test_an_unhealthy_device_recovers_by_clean_looks_after_a_while() -> None:
    first = looks(ill(), 130)
    assert (first.level, first.reason, first.served) == (Level.RECOVERING, "Xid 54", False)
    assert looks(first, 140, 150).level is Level.RECOVERING  # three looks, too soon
    assert looks(first, 140, 150, 160).level is Level.HEALTHY


def test_two_clean_looks_are_not_three() -> None:
    assert looks(ill(), 200, 300).level is Level.RECOVERING
    assert looks(ill(), 200, 300, 400).level is Level.HEALTHY


def test_what_happens_meanwhile_begins_the_recovery_anew_and_makes_it_longer() -> None:
    known = state.happened(looks(ill(), 200, 300), Action.UNHEALTHY, "Xid 54", 310.0)
    assert (known.level, known.falls) == (Level.UNHEALTHY, 1)
    assert looks(known, 320, 330, 370).level is Level.RECOVERING  # 60 s are over, 120 are not
    assert looks(known, 320, 330, 430).level is Level.HEALTHY


def test_the_wait_doubles_up_to_an_hour() -> None:
    known, now = ill(now=1000.0), 1000.0
    for fall in range(20):
        wait = min(60 * 2**fall, state.LONGEST_S)
        assert looks(known, now + 1, now + 2, now + wait - 1).level is Level.RECOVERING
        known = looks(known, now + 1, now + 2, now + wait)
        assert known.level is Level.HEALTHY
        now += wait + 10
        known = state.happened(known, Action.UNHEALTHY, "Xid 54", now)


def test_a_device_that_was_well_for_long_begins_without_its_past() -> None:
    known = state.happened(looks(ill(), 200, 300), Action.UNHEALTHY, "Xid 54", 310.0)
    well = looks(known, 400, 500, 600)
    assert well.falls == 1
    assert looks(well, 601 + state.LONGEST_S).falls == 0


@pytest.mark.parametrize("action", [Action.RESET, Action.DRAIN])
def test_what_needs_a_reset_does_not_recover_by_looks_alone(action: Action) -> None:
    assert looks(ill(action), 200, 300, 400, 9000).level is Level.UNHEALTHY
    assert looks(ill(action), 200, 300, 400, well=True).level is Level.HEALTHY


def test_a_device_that_was_away_was_reset() -> None:
    away = state.failed(ill(Action.DRAIN), "GPU is lost", 200.0)
    assert (away.level, away.reason) == (Level.UNHEALTHY, "Xid 54")
    assert looks(away, 300, 400, 500).level is Level.HEALTHY


def test_what_only_a_look_found_one_look_refutes() -> None:
    lost = state.failed(State(), "GPU is lost", 100.0)
    assert (lost.level, lost.reason) == (Level.UNHEALTHY, "GPU is lost")
    assert looks(lost, 101).level is Level.HEALTHY


def test_a_device_that_comes_and_goes_recovers_slowly() -> None:
    back = looks(state.failed(State(), "GPU is lost", 100.0), 101)
    again = state.failed(back, "GPU is lost", 110.0)
    assert looks(again, 111).level is Level.RECOVERING
    assert looks(again, 150, 200, 230).level is Level.HEALTHY


def test_what_the_driver_asks_for_is_a_reason_of_its_own() -> None:
    known = state.asked(State(), "reset", 100.0)
    assert (known.level, known.reason) == (Level.UNHEALTHY, "the driver asks for: reset")
    assert state.asked(known, "reset", 160.0).since == 100.0
    assert looks(known, 200, 300, 400, well=True).level is Level.HEALTHY


def test_without_recovery_nothing_comes_back() -> None:
    rules = Recovery(enabled=False)
    assert looks(ill(), 200, 300, 9000, rules=rules).level is Level.UNHEALTHY
    lost = state.failed(State(), "GPU is lost", 100.0)
    assert looks(lost, 200, 300, rules=rules).level is Level.UNHEALTHY


def test_the_worse_of_two_errors_is_the_reason() -> None:
    known = state.happened(ill(), Action.RESET, "Xid 95", 101.0)
    assert (known.reason, known.reset, known.since) == ("Xid 95", True, 100.0)
    assert state.happened(known, Action.UNHEALTHY, "Xid 54", 102.0).reason == "Xid 95"
