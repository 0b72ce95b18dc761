# SPDX-License-Identifier: Apache-2.0
"""A child is heard to its end, and ended where it does not come to one."""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING

import pytest
from gpubind_cdi import child

if TYPE_CHECKING:
    from pathlib import Path


def started(program: str, limit_s: float = 30.0) -> child.Child:
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        return child.start(program, fd, 3, limit_s)
    finally:
        os.close(fd)


def heard(one: child.Child, seconds: float = 10.0) -> list[bytes]:
    lines = []
    while line := one.line(time.monotonic() + seconds):
        lines.append(line)
    return lines


def is_gone(one: child.Child) -> bool:
    try:
        os.kill(one.pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_is_heard_line_by_line_to_its_end() -> None:
    one = started("import os; os.write(1, b'x' * 300000 + b'\\ny\\nhalf'); os.fstat(3)")
    assert heard(one) == [b"x" * 300000 + b"\n", b"y\n"]
    assert one.ended() == ""
    assert is_gone(one)


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("import os; os.write(1, b'said\\n'); os.abort()", "signal 6"),
        ("import os; os.write(1, b'said\\n'); os.kill(os.getpid(), 11)", "signal 11"),
        ("import os; os.write(1, b'said\\n'); raise SystemExit(7)", "status 7"),
    ],
)
def test_what_a_child_said_before_it_crashed_is_heard(program: str, how: str) -> None:
    one = started(program)
    assert heard(one) == [b"said\n"]
    assert one.ended() == how
    assert is_gone(one)


def test_a_crash_leaves_no_core_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        one = started("import os, resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])")
        assert heard(one) == [b"0\n"]
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
        one.ended()


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(60)",
        "import os, time; os.write(1, b'half'); time.sleep(60)",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
    ],
)
def test_a_child_that_says_nothing_is_not_waited_for_and_can_be_ended(program: str) -> None:
    one = started(program)
    with pytest.raises(TimeoutError):
        one.line(time.monotonic() + 0.3)
    one.kill()
    assert one.ended() == "signal 9"
    assert is_gone(one)


def test_a_child_that_does_not_come_to_its_end_is_ended() -> None:
    one = started("import os, time; os.write(1, b'done\\n'); os.close(1); time.sleep(60)")
    assert heard(one) == [b"done\n"]
    assert one.ended() == "signal 9"
    assert is_gone(one)


def test_a_child_that_says_too_much_is_ended() -> None:
    one = started("import os\nwhile True: os.write(1, b'x' * 65536)")
    assert one.line(time.monotonic() + 60) == b""
    assert one.ended() == "signal 9"
    assert is_gone(one)


def test_a_child_ends_itself_where_nobody_does() -> None:
    one = started("import signal, time; print(signal.alarm(1), flush=True); time.sleep(60)", 5.0)
    assert one.line(time.monotonic() + 10) == b"10\n"  # seconds that were left
    assert one.ended() == "signal 14"


def test_a_child_that_nobody_hears_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    one = started("from gpubind_cdi import child\nwhile True: child.tell('word', 1)")
    assert one.line(time.monotonic() + 10) == b'["word", 1]\n'
    assert one.ended() == ""
    assert capfd.readouterr() == ("", "")
