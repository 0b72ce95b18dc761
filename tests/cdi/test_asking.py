# SPDX-License-Identifier: Apache-2.0
"""What processes tell of GPUs is kept, whatever becomes of the process."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import children
import pytest
from gpubind_cdi import asking, child

from gpubind.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DRIVER = {"version": "550.54.15", "cuda": "12.4"}
SAY = "from gpubind_cdi import child; import os, time; "


def told(index: int) -> str:
    return f"child.tell('asking', {index}); child.tell('gpu', {{'index': {index}}}); "


def head(count: int) -> str:
    return f"{SAY}child.tell('driver', {DRIVER}, {count}); "


def end(count: int) -> str:
    return f"child.tell('end', {count})"


def asked(
    first: str, again: Callable[[int | None], str] = lambda _: "", limit_s: float = 10.0
) -> asking.Answer:
    fd = os.open("/dev/null", os.O_RDONLY)

    def start(only: int | None) -> child.Child:
        return child.start(again(only), fd, 3, limit_s)

    try:
        return asking.ask(child.start(first, fd, 3, limit_s), start, limit_s)
    finally:
        os.close(fd)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Hold that a test leaves no process; what others have running for all tests stays."""
    before = children.mine()
    yield
    assert children.mine() <= before


def test_all_that_is_told_is_the_inventory() -> None:
    answer = asked(
        head(2) + told(0) + "child.tell('asking', 1); child.tell('fault', 'x');" + end(2)
    )
    assert answer.document() == {
        "format": 1,
        "driver": DRIVER,
        "gpus": [{"index": 0}],
        "faults": [{"index": 1, "message": "x"}],
    }


def test_what_comes_after_a_crash_is_asked_about_one_by_one() -> None:
    first = head(4) + told(0) + "child.tell('asking', 1); os.abort()"
    answer = asked(first, lambda only: head(4) + told(only or 0) + end(4))
    assert sorted(answer.gpus) == [0, 2, 3]
    assert answer.faults == {1: "NVML ended with signal 6 when asked about it"}


def test_sixteen_gpus_that_hang_take_no_longer_than_two() -> None:
    began = time.monotonic()
    hang = "child.tell('asking', {}); time.sleep(60)"
    answer = asked(head(16) + hang.format(0), lambda only: head(16) + hang.format(only), 4.0)
    assert time.monotonic() - began < 30  # in turn they would take 32 s
    assert sorted(answer.faults) == [*range(16)]
    assert all("gave no answer within " in fault for fault in answer.faults.values())


def test_a_slow_process_has_time_as_long_as_it_says_something() -> None:
    slow = "".join(f"time.sleep(0.4); {told(index)}" for index in range(4))
    assert sorted(asked(head(4) + slow + end(4), limit_s=6.0).gpus) == [0, 1, 2, 3]


def test_when_all_is_told_it_does_not_matter_how_the_process_ends() -> None:
    answer = asked(head(2) + told(0) + told(1) + "os.abort()")
    assert (sorted(answer.gpus), answer.faults) == ([0, 1], {})


@pytest.mark.parametrize(
    ("counts", "gpus", "faults"),
    [
        ((2, 3, 3, 3), [0, 1, 2], []),
        ((3, 2, 2, 2), [0, 1], []),
        ((2, 3, 3, 2), [0, 1], [2]),
        ((3, 2, 2, 3), [0, 1], [2]),
    ],
)
def test_where_gpus_come_or_go_all_are_asked_once_more(
    counts: tuple[int, ...], gpus: list[int], faults: list[int]
) -> None:
    def program(before: int, after: int) -> str:
        return head(before) + "".join(told(index) for index in range(before)) + end(after)

    found = asked(program(*counts[:2]), lambda _: program(*counts[2:])).document()
    assert [one["index"] for one in found["gpus"]] == gpus
    assert [one["index"] for one in found["faults"]] == faults


@pytest.mark.parametrize(
    ("program", "silence"),
    [
        ("", "ended with no answer"),
        (f"{SAY}os.abort()", "ended with signal 6"),
        ("print('hello')", "gave what makes no sense (not JSON: Expecting value)"),
        (f"{SAY}child.tell('driver', {DRIVER}, -1)", "gave what makes no sense (expected a line"),
        (f"{SAY}child.tell('driver', {DRIVER}, 1025)", "gave what makes no sense (expected a line"),
        (f"{SAY}child.tell('gpu', {{}})", "gave what makes no sense (expected a line"),
        ("import time; time.sleep(60)", "gave no answer within 0.5 s"),
    ],
)
def test_where_nothing_is_told_it_is_said_why(program: str, silence: str) -> None:
    answer = asked(program, limit_s=1.0 if "sleep" in program else 10.0)
    assert answer.driver is None
    assert answer.silence.startswith(silence)


def test_an_error_of_the_whole_library_is_kept() -> None:
    assert asked(f"{SAY}child.tell('error', 18, 'x')").error == (18, "x")


@pytest.mark.parametrize(
    "line",
    [
        ["end"],
        ["end", "2"],
        ["fault", "x"],
        ["asking", -1],
        ["driver", [], 2],
        {"gpu": 1},
        "gpu",
    ],
)
def test_a_line_that_is_none_is_refused(line: object) -> None:
    with pytest.raises(DocumentError, match="expected a line of an answer"):
        asking.Answer().take(json.dumps(line).encode())
