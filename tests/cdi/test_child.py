# SPDX-License-Identifier: Apache-2.0
"""A child is heard to its end, and ended where it does not come to one."""

from __future__ import annotations

import os
import time

import pytest
from gpubind_cdi import child


def started(program: str) -> child.Child:
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        return child.start(program, fd, 3)
    finally:
        os.close(fd)


def is_gone(one: child.Child) -> bool:
    try:
        os.kill(one.pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_is_heard_to_its_end() -> None:
    one = started("import os; os.write(1, b'x' * 300000); os.fstat(3)")
    assert one.heard(10) == b"x" * 300000
    assert is_gone(one)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.abort()", "ended with signal 6"),
        ("import os; os.kill(os.getpid(), 11)", "ended with signal 11"),
        ("raise SystemExit(7)", "ended with status 7"),
    ],
)
def test_a_child_that_crashes_is_told_by_its_end(program: str, message: str) -> None:
    one = started(program)
    with pytest.raises(ChildProcessError, match=message):
        one.heard(10)
    assert is_gone(one)


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(60)",
        "import os, time; os.write(1, b'half'); time.sleep(60)",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
    ],
)
def test_a_child_that_does_not_end_is_ended(program: str) -> None:
    one = started(program)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        one.heard(0.3)
    assert time.monotonic() - start < 2
    assert is_gone(one)


def test_a_child_that_says_too_much_is_ended_before_its_time() -> None:
    one = started("import os\nwhile True: os.write(1, b'x' * 65536)")
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        one.heard(60)
    assert time.monotonic() - start < 20
    assert is_gone(one)
