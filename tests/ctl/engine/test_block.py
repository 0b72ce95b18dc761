# SPDX-License-Identifier: Apache-2.0
"""Our block in a TOML file, and the lines above it that it can give back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpubind_ctl.engine import block

TEXTS = st.lists(st.sampled_from(["a = 1", "b = 1", "", "[t]", "  a = 1 # x", "# c"]), max_size=8)
ENDS = st.sampled_from(["\n", "\r\n"])


@given(TEXTS, TEXTS, ENDS, st.booleans())
def test_any_change_is_given_back_byte_for_byte(
    old: list[str],
    new: list[str],
    end: str,
    last: bool,  # noqa: FBT001 - hypothesis gives it by position
) -> None:
    close = end if last else ""
    before = end.join(["k = 1", *old]) + close
    after = end.join(["k = 1", *new, "z = 1"]) + close
    change = block.hunk(before, after)
    assert change is not None
    text = block.added(after, "n", ["[x]"], [change])
    back, left = block.removed(text, "n")
    assert (back.rstrip("\r\n"), left) == (before.rstrip("\r\n"), ())


@pytest.mark.parametrize("text", ["", "a = 1\n", "a = 1", "a = 1\r\n", "\n\n", "a = 1\r\nb = 2"])
def test_two_blocks_go_in_any_order(text: str) -> None:
    both = block.added(block.added(text, "one", ["x = 1"]), "two", ["y = 1"])
    assert block.names(both) == ("one", "two")
    for first, second in (("one", "two"), ("two", "one")):
        back, _ = block.removed(both, first)
        assert block.removed(back, second) == (text, ())


def test_what_somebody_wrote_behind_the_block_stays() -> None:
    text = block.added("a = 1\n", "n", ["x = 1"]) + "# mine\n"
    assert block.removed(text, "n") == ("a = 1\n# mine\n", ())


def test_a_line_that_somebody_changed_since_stays_and_is_told() -> None:
    change = block.hunk("a = 1\n", "a = 2\n")
    assert change is not None
    text = block.added("a = 2\n", "n", [], [change]).replace("a = 2\n", "a = 3\n", 1)
    assert block.removed(text, "n") == ("a = 3\n", (change,))


def test_the_same_line_in_two_places_is_given_back_where_it_was() -> None:
    old = "[s]\nx = 1\n[t]\nx = 2\n"
    new = "[s]\nx = 1\n[t]\nx = 1\n"
    change = block.hunk(old, new)
    assert change is not None
    assert block.removed(block.added(new, "n", [], [change]), "n") == (old, ())


def test_a_line_that_has_come_to_stand_twice_is_in_doubt_and_stays() -> None:
    change = block.hunk("a = 1\n", "a = 2\n")
    assert change is not None
    text = "a = 2\n" + block.added("a = 2\n", "n", [], [change])
    assert block.removed(text, "n") == ("a = 2\na = 2\n", (change,))


def test_what_two_blocks_changed_comes_back_whichever_goes_first() -> None:
    texts = ["d = 0\n", "d = 1\n", "d = 2\n"]
    one = block.hunk(texts[0], texts[1])
    assert one is not None
    first = block.added(texts[1], "one", [], [one])
    changed = first.replace("d = 1\n", "d = 2\n", 1)
    two = block.hunk(first, changed)
    assert two is not None
    both = block.added(changed, "two", [], [two])
    alone, left = block.removed(both, "one")
    assert (alone.split("\n")[0], left) == ("d = 2", ())
    assert block.removed(alone, "two") == ("d = 0\n", ())
    alone, _ = block.removed(both, "two")
    assert block.removed(alone, "one") == ("d = 0\n", ())


def test_a_block_without_end_is_left_alone() -> None:
    text = "a = 1\n# gpubind:n begin\nx = 1\n"
    assert block.removed(text, "n") == (text, ())
    assert block.content(text, "n") == ""


def test_a_block_that_lost_its_end_does_not_take_what_is_below_with_it() -> None:
    torn = "# gpubind:nvidia begin\nold = 1\nkept = 2\n"
    whole = block.added(torn, "nvidia", ["new = 3"])
    assert block.content(whole, "nvidia") == "new = 3\n"
    assert block.removed(whole, "nvidia") == (torn, ())
